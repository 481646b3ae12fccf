"""Warm-up requests, which TensorFlow Serving runs before it accepts clients."""

import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from semppl.export.model.embedder import Embedder

WARMUP = pathlib.Path("assets.extra", "tf_serving_warmup_requests")
_BATCHES = (1, 32)


def write_warmup(folder: pathlib.Path, *, name: str, signatures: list[str], embedder: Embedder) -> None:
    """Writes two requests per signature: one row, and a batch.

    Args:
        folder: Folder of the SavedModel.
        name: Name under which the model is served.
        signatures: Names of its signatures.
        embedder: Its embedder, which determines the shapes of inputs.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for signature in signatures:
            for key, value in _inputs(signature, embedder):
                request = predict_pb2.PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictLog(request=request)
                writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def read_warmup(folder: pathlib.Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields the signature and the inputs of each warm-up request of a SavedModel."""
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(folder / WARMUP)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def _inputs(signature: str, embedder: Embedder) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name and value of a signature's input, for each request."""
    grey = np.full([embedder.size, embedder.size, embedder.channels], 0.5, np.float32)
    picture = tf.io.encode_jpeg(tf.image.convert_image_dtype(grey, tf.uint8)).numpy()
    direction = np.full([embedder.width], embedder.width**-0.5, np.float32)
    for rows in _BATCHES:
        if signature == "embed_images":
            yield "images", np.stack([grey] * rows)
        elif signature in ("serving_default", "embed_bytes", "ood"):
            yield "bytes", np.array([picture] * rows, object)
        else:
            yield "embedding", np.stack([direction] * rows)
