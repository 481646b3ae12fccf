"""Asks a served model over gRPC; needs the extra `serving`."""

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from semppl.export.serving.retries import Refused, Unavailable, with_retries

_LATER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)


class GrpcClient:
    """Asks TensorFlow Serving, or the stand-in.

    Args:
        address: such as localhost:8500.
        model: its name.
        seconds: that an attempt may take.
        attempts: at most.
    """

    def __init__(self, address: str, model: str, *, seconds: float = 10.0, attempts: int = 4) -> None:
        channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._model = model
        self._seconds = seconds
        self._attempts = attempts

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature; strings come back as texts.

        Raises:
            Refused: if the server refuses the request.
            Unavailable: if it does not answer.
        """
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = with_retries(lambda: self._ask(request), attempts=self._attempts)
        return {name: _texts(tf.make_ndarray(value)) for name, value in response.outputs.items()}

    def _ask(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        try:
            return self._stub.Predict(request, timeout=self._seconds)
        except grpc.RpcError as error:
            message = f"{self._model} answered {error.code().name}: {error.details()}"
            raise (Unavailable if error.code() in _LATER else Refused)(message) from error


def _texts(values: np.ndarray) -> np.ndarray:
    if values.dtype != object:
        return values
    return np.array([item.decode(errors="replace") for item in values.flat], np.str_).reshape(values.shape)
