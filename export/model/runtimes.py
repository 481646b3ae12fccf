"""Conversion of signatures to ONNX and TFLite, and execution of the result."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.runs.standard_error import silent_standard_error

_OPSET = 17  # of ONNX
Arrays = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Arrays]


class NotConvertible(ValueError):
    """Raised for a signature that a format cannot express; the message is the reason."""


def to_onnx(function: Any) -> bytes:
    """Converts a signature with one input to ONNX.

    Raises:
        NotConvertible: if ONNX has no equivalent of one of the operations.
    """
    import onnx
    import tf2onnx

    ((name, spec),) = function.structured_input_signature[1].items()
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name)]
    wrapped = tf.function(lambda value: function(**{name: value}), input_signature=signature)
    try:
        with _quiet("tf2onnx"):
            choices: dict[str, Any] = {kind: (_choose, []) for kind in ("Select", "SelectV2")}
            model, _ = tf2onnx.convert.from_function(wrapped, signature, opset=_OPSET, custom_op_handlers=choices)
        onnx.checker.check_model(model)
    except Exception as error:  # converters raise errors of any class
        raise NotConvertible(str(error).strip().splitlines()[0]) from error
    return bytes(model.SerializeToString())


def _choose(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Converts `tf.where` to ONNX's Where: tf2onnx would multiply by 0 and 1, which propagates NaN and Inf."""
    del name, arguments
    import onnx
    from tf2onnx.onnx_opset import controlflow

    # ONNX Runtime has no Where for booleans.
    node.set_attr("handles_nan", context.get_dtype(node.output[0]) == onnx.TensorProto.FLOAT)
    controlflow.Select.version_9(context, node)


def run_onnx(model: bytes) -> Run:
    """Returns a function that runs an ONNX model with one input: from `[B, …]` to the outputs by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (only_input,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
    return lambda value: dict(zip(names, session.run(names, {only_input.name: value}), strict=True))


def to_tflite(function: Any, model: Any) -> bytes:
    """Converts a signature with one input to TFLite, with TensorFlow's own kernels where TFLite has none.

    Raises:
        NotConvertible: if neither has a kernel for one of the operations.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    try:
        with silent_standard_error():  # statistics of operations
            return bytes(converter.convert())
    except Exception as error:  # converters raise errors of any class
        raise NotConvertible(str(error).strip().splitlines()[0]) from error


def run_tflite(model: bytes) -> Run:
    """Returns a function that runs a TFLite model with one input: from `[B, …]` to the outputs by name."""
    runner = tf.lite.Interpreter(model_content=model).get_signature_runner()
    (name,) = runner.get_input_details()

    def run(value: np.ndarray) -> Arrays:
        with silent_standard_error():  # lines about delegates
            return dict(runner(**{name: value}))

    return run


def tensorflow_kernels(model: bytes) -> list[str]:
    """Lists the operations of a TFLite model that need an interpreter with TensorFlow's kernels (Flex)."""
    details = tf.lite.Interpreter(model_content=model)._get_ops_details()
    return sorted({op["op_name"].removeprefix("Flex") for op in details if op["op_name"].startswith("Flex")})


def differences(answer: Arrays, expected: Arrays) -> dict[str, float]:
    """Compares outputs by name.

    Returns:
        The largest absolute difference of each output of floats; infinity for an output that is missing, is not expected, has
        another shape, or has other values that are not floats.
    """
    found = dict.fromkeys({*answer} ^ {*expected}, np.inf)
    for name in {*answer} & {*expected}:
        value = expected[name]
        if value.dtype.kind == "f" and value.shape == answer[name].shape:
            largest = float(np.max(np.abs(answer[name] - value), initial=0.0))
            found[name] = largest if np.isfinite(largest) else np.inf
        else:
            found[name] = 0.0 if np.array_equal(_texts(answer[name]), _texts(value)) else np.inf
    return found


def largest_difference(answer: Arrays, expected: Arrays) -> float:
    """Returns the largest of the `differences` of all outputs."""
    return max(differences(answer, expected).values(), default=0.0)


def _texts(values: np.ndarray) -> np.ndarray:
    """Converts strings to `str`: some runtimes return `bytes`."""
    if values.dtype.kind not in "OSU":
        return values
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values.reshape(-1)])


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silences a package's log and stderr, which repeat at length the message of its error."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
