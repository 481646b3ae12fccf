"""Admission and execution of requests: limits, a queue, and counters."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from semppl.configs.wording import counted
from semppl.export.collections.sendable import sendable
from semppl.export.serving.json_tensors import BadRequest
from semppl.export.serving.limits import Limits
from semppl.export.serving.model_versions import ModelVersions, Version

DEFAULT_SIGNATURE = "serving_default"
_MESSAGE = 300  # maximum length of a message of TensorFlow


class NotServed(LookupError):
    """Raised if the model, version or signature is not served."""


class Busy(RuntimeError):
    """Raised if too many requests are waiting; a retry may succeed."""


class Predictor:
    """Runs signatures of a model's current version.

    Args:
        versions: Versions of the model.
        limits: Limits of each request, and of all requests together.
    """

    def __init__(self, versions: ModelVersions, limits: Limits) -> None:
        self.versions = versions
        self.limits = limits
        self.counts = {"ok": 0, "refused": 0, "busy": 0}
        self.seconds = 0.0
        self._turn = threading.BoundedSemaphore(limits.at_once)
        self._counting = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Counts a request as refused if it cannot be read, or its model is not served."""
        try:
            yield
        except (NotServed, BadRequest):
            with self._counting:
                self.counts["refused"] += 1
            raise

    def find(self, name: str, version: int | None = None) -> Version:
        """Finds a version, by default the current one.

        Raises:
            NotServed: if the model or version is not served.
        """
        current = self.versions.current
        if name != self.versions.name or current is None or version not in (None, current.number):
            raise NotServed(f"Servable not found for request: {name}" + (f", version {version}" if version else ""))
        return current

    def predict(
        self, version: Version, signature: str, inputs: dict[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            version: Version to run, from `find`.
            signature: Name of the signature.
            inputs: Input arrays, by name.
            outputs: Names of the outputs to return; empty for all.

        Returns:
            The outputs, by name.

        Raises:
            NotServed: if the version has no such signature.
            BadRequest: if the inputs do not match the signature, or the batch is too large.
            Busy: if the request waits too long.
        """
        start = time.monotonic()
        outcome = "refused"
        try:
            self._check(version, signature, inputs, outputs)
            outcome = "busy"
            with self._my_turn():
                outcome = "refused"
                answer = _run(version, signature, {name: _sendable(array) for name, array in inputs.items()})
            outcome = "ok"
        finally:
            with self._counting:
                self.counts[outcome] += 1
                self.seconds += time.monotonic() - start
        return {name: value for name, value in answer.items() if not outputs or name in outputs}

    def _check(self, version: Version, signature: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]) -> None:
        if signature not in version.signatures:
            raise NotServed(f"Serving signature name {signature!r} not found; there are {sorted(version.signatures)}")
        expected = version.signatures[signature].inputs
        if set(inputs) != set(expected):
            raise BadRequest(f"Inputs must be {sorted(expected)}. Received: {sorted(inputs)}")
        unknown = set(outputs) - set(version.signatures[signature].outputs)
        if unknown:
            raise BadRequest(f"Outputs must be of the signature. Received: {sorted(unknown)}")
        for name, value in inputs.items():
            dtype, shape = tf.as_dtype(expected[name].dtype), tf.TensorShape(expected[name].tensor_shape)
            if value.dtype != dtype.as_numpy_dtype or not shape.is_compatible_with(value.shape):
                raise BadRequest(
                    f"{name} must be {dtype.name} of shape {shape}. Received: {value.dtype} of shape {value.shape}"
                )
            if value.shape[0] > self.limits.rows:
                raise BadRequest(
                    f"{name} must have at most {counted(self.limits.rows, 'row')}. Received: {value.shape[0]}"
                )

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self.limits.seconds):
            raise Busy(f"{self.limits.at_once} requests are being answered; no turn within {self.limits.seconds:g} s")
        try:
            yield
        finally:
            self._turn.release()


def _sendable(values: np.ndarray) -> np.ndarray:
    """Converts picture files, bytes in an object array, to what the model decodes; returns other inputs as they are."""
    if values.dtype != object:
        return values
    files = [sendable(value) if isinstance(value, bytes) else value for value in values.ravel().tolist()]
    return np.array(files, object).reshape(values.shape)


def _run(version: Version, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    try:
        return version.functions[signature](**inputs)
    except (tf.errors.OpError, ValueError) as error:
        raise BadRequest(" ".join(str(error).split())[:_MESSAGE]) from error
