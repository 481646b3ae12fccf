"""The embedder of a served model: pictures to embeddings, prepared as in evaluation, in pure TensorFlow."""

import contextlib
import functools
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants  # no public name exists

from semppl.configs.choices import DTYPES
from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.model.decoding import decode_rows
from semppl.export.model.inference_network import Int8Kernels, fold_batch_norms, in_half
from semppl.layers.inputs.preparation import fingerprints, inference_preparation
from semppl.layers.networks import OnlineNetwork, unit_norm

EMBEDDINGS = ("projections", "features", "joint")
_MOST_FROZEN_BYTES = 2**28

_Function = Callable[[tf.Tensor], tf.Tensor]


def is_finite(values: tf.Tensor) -> tf.Tensor:
    """Returns true where a value is neither NaN nor Inf.

    Other tests, even `<=`, are not reliable once converted to ONNX or TFLite.
    """
    return tf.abs(values) < values.dtype.max


class Embedder(tf.Module):
    """Prepares pictures and embeds them.

    No Keras object is part of a saved embedder: loading one needs no class of this project.

    Args:
        network: Trained online network; stays as it is.
        hyperparameters: Hyper-parameters of its run.
        embedding: "projections" (g∘f, D wide, shaped by the labels), "features" (f, wider and more general) or "joint" (both).
        centre_crop: Side of the central square of an image that is used, as a share of the shorter side, in (0, 1].
        dims: Number of leading dimensions of the embedding to use; 0 for all.
        dtype: One of `DTYPES`. With bfloat16 and float16, kernels and arithmetic have 16 bits; with int8, kernels have 8 bits and
            are converted to float32 before use.
        fold: Whether batch norms are folded into the layers before them, in a copy of the network.

    Raises:
        ValueError: if `embedding` or `dtype` is unknown, `dims` is larger than the embedding, or the images have neither 1 nor 3
            channels.
    """

    def __init__(
        self,
        network: OnlineNetwork,
        hyperparameters: Hyperparameters,
        *,
        embedding: str,
        centre_crop: float,
        dims: int = 0,
        dtype: str = "float32",
        fold: bool = True,
    ) -> None:
        super().__init__(name="embedder")
        if embedding not in EMBEDDINGS:
            raise ValueError(f"--embedding must be one of {', '.join(EMBEDDINGS)}. Received: {embedding}")
        if hyperparameters.channels not in (1, 3):
            allowed = "1 or 3 to export: a served model takes picture files"
            raise ValueError(f"--channels must be {allowed}. Received: {hyperparameters.channels}")
        if dtype not in DTYPES:
            raise ValueError(f"--dtype must be one of {', '.join(DTYPES)}. Received: {dtype}")
        if fold:
            network = fold_batch_norms(network, hyperparameters)
        if dtype in ("bfloat16", "float16"):
            network = in_half(network, hyperparameters, dtype)
        self._int8 = Int8Kernels(network) if dtype == "int8" else None
        self.weights = self._int8.weights if self._int8 else network.weights
        self.prepare = inference_preparation(
            hyperparameters.embedded_size, centre_crop=centre_crop, shrink=hyperparameters.shrink
        )
        self.fingerprints = functools.partial(fingerprints, shrink=hyperparameters.shrink)
        self.size = hyperparameters.embedded_size
        self.channels = hyperparameters.channels
        # Bound methods: tf.Module would save a network that is an attribute.
        self._encode: _Function = network.features
        projecting = {
            "projections": network.projector.__call__,
            "features": tf.identity,
            "joint": network.join_features,
        }
        self._project: _Function = projecting[embedding]
        whole = int(self._project(self.features(tf.zeros([1, self.size, self.size, self.channels]))).shape[-1])
        if not 0 <= dims <= whole:
            raise ValueError(f"--embedding_dims must be in 0..{whole}. Received: {dims}")
        self.width = dims or whole

    def features(self, prepared: tf.Tensor) -> tf.Tensor:
        """Encodes prepared images `[B, size, size, C]` in 0..1 as features `[B, F]`."""
        # Sets a static shape for other runtimes; `tf.ensure_shape` does not exist in TFLite.
        filled = tf.reshape(_filled(prepared), [-1, self.size, self.size, self.channels])
        with self._kernels():
            return self._encode(filled)[: tf.shape(prepared)[0]]

    def embed_features(self, features: tf.Tensor) -> tf.Tensor:
        """Maps features `[B, F]` to unit-norm embeddings `[B, width]`."""
        with self._kernels():
            return unit_norm(self._project(features)[:, : self.width])

    def embed(self, prepared: tf.Tensor) -> tf.Tensor:
        """Maps prepared images `[B, size, size, C]` in 0..1 to unit-norm embeddings `[B, width]`."""
        return self.embed_features(self.features(prepared))

    def read_images(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Prepares images.

        Args:
            images: `[B, H, W, C]` in 0..1.

        Returns:
            Prepared images `[B, size, size, C]`; and bool `[B]`, true where an image has pixels, none of them NaN or Inf.
        """
        prepared = self.prepare(_filled(images))[: tf.shape(images)[0]]
        # Tests the sum: testing each pixel makes ONNX Runtime choose a layout in which cubic resizing fails.
        # Tests the unprepared pixels: in TFLite, clipping may turn NaN into a finite value.
        return prepared, is_finite(tf.reduce_sum(images, axis=[1, 2, 3])) & (tf.size(images) > 0)

    def read_bytes(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Decodes and prepares `[B]` files: images `[B, size, size, C]`; and bool `[B]`, true where decoding succeeded."""
        prepared, valid = self._decode(encoded)
        return prepared, valid

    @functools.cached_property
    def _decode(self) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """One graph for the decoding in all signatures: tracing it takes longer than tracing the network."""
        decode = functools.partial(decode_rows, prepare=self.prepare, size=self.size, channels=self.channels)
        with tf.init_scope():
            traced = tf.function(decode, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.string))

        # A plain function: an attribute that is a tf.function would be saved with the model.
        def decoded(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            images, valid = traced(encoded)
            return images, valid

        return decoded

    def freeze(self) -> None:
        """Turns the weights into constants, which oneDNN lays out once and not for every request.

        Large weights stay variables: saving or loading a model holds a dozen copies of each constant, and a graph is limited to
        two gigabytes.
        """
        if sum(weight.dtype.size * weight.shape.num_elements() for weight in self.weights) > _MOST_FROZEN_BYTES:
            return
        side = [None, self.size, self.size, self.channels]
        width = self.features(tf.zeros([1, *side[1:]])).shape[-1]
        self._encode = self._frozen(self._encode, side)
        self._project = self._frozen(self._project, [None, width])
        self._int8, self.weights = None, []

    def _frozen(self, function: _Function, shape: list[int | None]) -> _Function:
        def with_kernels(inputs: tf.Tensor) -> tf.Tensor:
            with self._kernels():
                return function(inputs)

        traced = tf.function(with_kernels, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.float32))
        constant = convert_to_constants.convert_variables_to_constants_v2(traced, lower_control_flow=False)

        def frozen(inputs: tf.Tensor) -> tf.Tensor:
            outputs = constant(inputs)[0]
            outputs.set_shape(traced.outputs[0].shape)
            return outputs

        return frozen

    def _kernels(self) -> contextlib.AbstractContextManager[None]:
        return self._int8.in_use() if self._int8 else contextlib.nullcontext()


def _filled(images: tf.Tensor) -> tf.Tensor:
    """Pads empty axes of `[B, H, W, C]` to length 1 with black: convolution and resizing fail on empty tensors."""
    missing = tf.maximum(1 - tf.shape(images)[:3], 0)
    return tf.pad(images, [[0, missing[0]], [0, missing[1]], [0, missing[2]], [0, 0]])
