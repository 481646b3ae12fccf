"""Client of a served model over gRPC; needs the extra `serving`."""

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from semppl.export.serving.retries import NoModelServer, Refused, Unavailable, Waits, wait_silently, with_retries

_LATER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
_TOO_LARGE = "larger than max"  # in the message for too large a request; the same code reports too many requests


class GrpcClient:
    """A client of TensorFlow Serving, or of the stand-in.

    Args:
        address: Host and port, such as localhost:8500.
        model: Name of the model.
        seconds: Time limit of an attempt.
        attempts: Maximum number of attempts.
        waits: Function that is called before the first pause of a request; see `with_retries`.
    """

    def __init__(
        self, address: str, model: str, *, seconds: float = 10.0, attempts: int = 4, waits: Waits = wait_silently
    ) -> None:
        channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._model = model
        self._seconds = seconds
        self._attempts = attempts
        self._waits = waits

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on named inputs; returns its outputs by name, strings as `str`.

        Raises:
            Refused: if the server refuses the request.
            Unavailable: if the server does not answer.
            NoModelServer: if the answer is not that of a model server.
        """
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = with_retries(lambda: self._ask(request), attempts=self._attempts, waits=self._waits)
        try:
            return {name: _texts(tf.make_ndarray(value)) for name, value in response.outputs.items()}
        except (TypeError, ValueError) as error:
            raise NoModelServer(f"{self._model} answered something else: {error}") from error

    def _ask(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        try:
            return self._stub.Predict(request, timeout=self._seconds)
        except grpc.RpcError as error:
            raise _kind(error.code(), error.details() or "")(
                f"{self._model} answered {error.code().name}: {error.details()}"
            ) from error


def _kind(code: grpc.StatusCode, details: str) -> type[Exception]:
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NoModelServer
    return Unavailable if code in _LATER and _TOO_LARGE not in details else Refused


def _texts(values: np.ndarray) -> np.ndarray:
    if values.dtype != object:
        return values
    return np.array([item.decode(errors="replace") for item in values.flat], np.str_).reshape(values.shape)
