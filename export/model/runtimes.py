"""Signatures of a SavedModel as files of other runtimes, and what runs them here."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

_OPSET = 17  # of ONNX
Arrays = dict[str, np.ndarray]
Run = Callable[[np.ndarray], Arrays]


class NotConvertible(ValueError):
    """A signature that a format cannot say, and why."""


def to_onnx(function: Any) -> bytes:
    """Converts a signature of one input to ONNX.

    Raises:
        NotConvertible: if ONNX has no counterpart of one of its operations.
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
    except Exception as error:  # whatever the converter meets
        raise NotConvertible(str(error).strip().splitlines()[0]) from error
    return bytes(model.SerializeToString())


def _choose(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Converts `tf.where` to ONNX's Where: tf2onnx would multiply by 0 and 1, which lets through what is no number."""
    del name, arguments
    import onnx
    from tf2onnx.onnx_opset import controlflow

    # ONNX Runtime has no Where for truth values.
    node.set_attr("handles_nan", context.get_dtype(node.output[0]) == onnx.TensorProto.FLOAT)
    controlflow.Select.version_9(context, node)


def run_onnx(model: bytes) -> Run:
    """Returns what runs an ONNX model of one input: `[B, …]` to the outputs by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
    return lambda value: dict(zip(names, session.run(names, {given.name: value}), strict=True))


def to_tflite(function: Any, model: Any) -> bytes:
    """Converts a signature of one input to TFLite, with TensorFlow's own kernels where TFLite has none.

    Raises:
        NotConvertible: if there is no such kernel either.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    try:
        return bytes(converter.convert())
    except Exception as error:  # whatever the converter meets
        raise NotConvertible(str(error).strip().splitlines()[0]) from error


def run_tflite(model: bytes) -> Run:
    """Returns what runs a TFLite model of one input: `[B, …]` to the outputs by name."""
    runner = tf.lite.Interpreter(model_content=model).get_signature_runner()
    (given,) = runner.get_input_details()
    return lambda value: dict(runner(**{given: value}))


def tensorflow_kernels(model: bytes) -> list[str]:
    """Lists the operations of a TFLite model that only an interpreter with TensorFlow's kernels (Flex) runs."""
    details = tf.lite.Interpreter(model_content=model)._get_ops_details()
    return sorted({op["op_name"].removeprefix("Flex") for op in details if op["op_name"].startswith("Flex")})


def largest_difference(answer: Arrays, expected: Arrays) -> float:
    """Returns by how much numbers differ at most; infinity if others differ at all, or something is missing."""
    if set(answer) != set(expected):
        return np.inf
    largest = 0.0
    for name, value in expected.items():
        if value.dtype.kind == "f" and value.shape == answer[name].shape:
            largest = float(np.maximum(largest, np.max(np.abs(answer[name] - value), initial=0.0)))  # keeps a NaN
        elif not np.array_equal(_texts(answer[name]), _texts(value)):
            return np.inf
    return largest if np.isfinite(largest) else np.inf


def _texts(values: np.ndarray) -> np.ndarray:
    """Some runtimes give strings as texts, others as bytes."""
    if values.dtype.kind not in "OSU":
        return values
    return np.array([value.decode() if isinstance(value, bytes) else str(value) for value in values.reshape(-1)])


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keeps a package from telling at length what an error says."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
