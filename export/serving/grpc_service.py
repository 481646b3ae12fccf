"""TensorFlow Serving's gRPC interface: Predict, GetModelMetadata and GetModelStatus."""

import contextlib
import math
from collections.abc import Iterator
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from semppl.export.serving.json_tensors import BadRequest
from semppl.export.serving.model_versions import ModelVersions, Version
from semppl.export.serving.predictor import DEFAULT_SIGNATURE, Busy, NotServed, Predictor

_THREADS = 16
_MESSAGE = 300  # maximum length of a message of NumPy


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and GetModelMetadata.

    Args:
        predictor: Predictor of the model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def Predict(  # noqa: N802  (a name of the interface)
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        spec = request.model_spec
        signature = spec.signature_name or DEFAULT_SIGNATURE
        with _status_codes(context):
            most = self._predictor.limits.request_bytes
            with self._predictor.reading():
                version = _find(self._predictor, spec)
                inputs = {name: _array(name, value, most) for name, value in request.inputs.items()}
            outputs = self._predictor.predict(version, signature, inputs, request.output_filter)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.signature_name = signature
        response.model_spec.version.value = version.number
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures."""
        with _status_codes(context):
            if list(request.metadata_field) != ["signature_def"]:
                raise BadRequest(f"metadata_field must be signature_def. Received: {list(request.metadata_field)}")
            _find(self._predictor, request.model_spec)
        return metadata(self._predictor.versions)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers GetModelStatus.

    Args:
        predictor: Predictor of the model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the versions and their states."""
        with _status_codes(context):
            _find(self._predictor, request.model_spec)
        return status(self._predictor.versions)


def metadata(versions: ModelVersions) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Describes the signatures of the current version."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.model_spec.name = versions.name
    if versions.current is not None:
        response.model_spec.version.value = versions.current.number
        for name, signature in versions.current.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
    response.metadata["signature_def"].Pack(signatures)
    return response


def status(versions: ModelVersions) -> get_model_status_pb2.GetModelStatusResponse:
    """Describes the state of each version, newest first."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for number, (state, message) in sorted(versions.states.items(), reverse=True):
        entry = response.model_version_status.add(
            version=number, state=get_model_status_pb2.ModelVersionStatus.State.Value(state)
        )
        entry.status.error_code = 2 if message else 0  # UNKNOWN, or OK
        entry.status.error_message = message
    return response


def start(predictor: Predictor, port: int) -> tuple[grpc.Server, int]:
    """Starts a server on the loopback interface; returns it and its port, any free one for 0."""
    size = predictor.limits.request_bytes
    server = grpc.server(
        futures.ThreadPoolExecutor(_THREADS),
        options=[("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", -1)],
        maximum_concurrent_rpcs=4 * _THREADS,
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(predictor), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictor), server)
    bound = server.add_insecure_port(f"localhost:{port}")
    server.start()
    return server, bound


def _find(predictor: Predictor, spec: model_pb2.ModelSpec) -> Version:
    """Finds the requested version; version labels are not supported."""
    if spec.HasField("version_label"):
        raise NotServed(f"Servable not found for request: {spec.name}, version label {spec.version_label[:_MESSAGE]}")
    return predictor.find(spec.name, spec.version.value if spec.HasField("version") else None)


def _array(name: str, tensor: tensor_pb2.TensorProto, most: int) -> np.ndarray:
    """Unpacks a tensor of at most `most` bytes: a short message can declare a large shape."""
    sides = [side.size for side in tensor.tensor_shape.dim]
    try:
        size = math.prod(sides) * np.dtype(tf.as_dtype(tensor.dtype).as_numpy_dtype).itemsize
        if min(sides, default=0) < 0 or size > most:
            raise ValueError(f"shape {sides} is impossible, or takes more than {most} bytes")
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError, KeyError, OverflowError) as error:  # KeyError: the type does not exist in NumPy
        raise BadRequest(f"{name} cannot be read: {str(error).splitlines()[0][:_MESSAGE]}") from error


@contextlib.contextmanager
def _status_codes(context: grpc.ServicerContext) -> Iterator[None]:
    """Translates errors into status codes."""
    try:
        yield
    except NotServed as error:
        context.abort(grpc.StatusCode.NOT_FOUND, str(error))
    except BadRequest as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except Busy as error:
        context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
