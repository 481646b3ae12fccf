"""From pictures to embeddings, prepared as evaluation prepares them, with nothing but TensorFlow inside."""

import contextlib
import functools
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants  # it has no public name

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.model.decoding import decode_rows
from semppl.export.model.inference_network import DTYPES, Int8Kernels, fold_batch_norms, in_half
from semppl.layers.inputs.preparation import fingerprints, inference_preparation
from semppl.layers.networks import OnlineNetwork, unit_norm

EMBEDDINGS = ("projections", "features")
_MOST_FROZEN_BYTES = 2**28

_Function = Callable[[tf.Tensor], tf.Tensor]


def is_finite(values: tf.Tensor) -> tf.Tensor:
    """Tells which numbers are neither infinite nor none; in ONNX and TFLite other tests, even `<=`, let some of them pass."""
    return tf.abs(values) < values.dtype.max


class Embedder(tf.Module):
    """Prepares pictures and embeds them.

    Keras objects are not saved: a reader needs no class of ours.

    Args:
        network: the trained online network; it cannot be trained afterwards, if it is folded.
        hyperparameters: of its run.
        embedding: projections (g∘f, D wide: what the labels shaped) or features (f: wider, more general).
        centre_crop: Side of the central square that is taken of an image, as a share of the shorter side, in (0, 1].
        dims: how many numbers of an embedding are kept, from the first on; 0 keeps all.
        fold: whether batch norms become part of the layers before them.
        dtype: bfloat16 or float16: kernels and arithmetic in 16 bits; int8: kernels in 8, made float32 again before use.

    Raises:
        ValueError: if the embedding is unknown, or narrower than `dims`, or the type is unknown; if the images are none that
            picture files hold.
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
            fold_batch_norms(network)
        if dtype in ("bfloat16", "float16"):
            network = in_half(network, hyperparameters, dtype)
        self._int8 = Int8Kernels(network) if dtype == "int8" else None
        self.weights = self._int8.weights if self._int8 else network.weights
        self.prepare = inference_preparation(
            hyperparameters.large_size, centre_crop=centre_crop, shrink=hyperparameters.shrink
        )
        self.fingerprints = functools.partial(fingerprints, shrink=hyperparameters.shrink)
        self.size = hyperparameters.large_size
        self.channels = hyperparameters.channels
        # Traced once for all signatures: decoding is the largest part of their graphs.
        self._decoded = tf.function(self._decode, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        # Methods, for a network would be saved with this module.
        self._encode: _Function = network.features
        self._project: _Function = network.projector.__call__ if embedding == "projections" else tf.identity
        whole = int(self._project(self.features(tf.zeros([1, self.size, self.size, self.channels]))).shape[-1])
        if not 0 <= dims <= whole:
            raise ValueError(f"--embedding_dims must be in 0..{whole}. Received: {dims}")
        self.width = dims or whole

    def features(self, prepared: tf.Tensor) -> tf.Tensor:
        """Encodes `[B, size, size, C]` in 0..1: `[B, F]`, of any length."""
        # Has a static shape for other runtimes too, and unlike `tf.ensure_shape` is there in TFLite.
        filled = tf.reshape(_filled(prepared), [-1, self.size, self.size, self.channels])
        with self._kernels():
            return self._encode(filled)[: tf.shape(prepared)[0]]

    def embed_features(self, features: tf.Tensor) -> tf.Tensor:
        """Embeds `[B, F]`: `[B, width]`, unit-norm."""
        with self._kernels():
            return unit_norm(self._project(features)[:, : self.width])

    def embed(self, prepared: tf.Tensor) -> tf.Tensor:
        """Embeds `[B, size, size, C]` in 0..1: `[B, width]`, unit-norm."""
        return self.embed_features(self.features(prepared))

    def read_images(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Prepares `[B, H, W, C]` float32 in 0..1: `[B, size, size, C]`, and whether each has pixels, all of them finite `[B]`."""
        prepared = self.prepare(_filled(images))[: tf.shape(images)[0]]
        # Of the sum, for ONNX Runtime: a test of every number has a layout of its own there, in which cubic resizing fails.
        # And of the pixels as they come: in TFLite what is none may be a number again when it has been clipped.
        return prepared, is_finite(tf.reduce_sum(images, axis=[1, 2, 3])) & (tf.size(images) > 0)

    def read_bytes(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Prepares `[B]` files: `[B, size, size, C]`, and whether each could be decoded `[B]`."""
        return self._decoded(encoded)

    def _decode(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return decode_rows(encoded, self.prepare, size=self.size, channels=self.channels)

    def freeze(self) -> None:
        """Makes constants of the weights: what cannot change, oneDNN lays out once, and not for every request.

        Large weights stay variables: constants are held in a dozen copies while a model is saved or loaded, and in a message of at
        most two gigabytes.
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
    """Adds a black row, line or column to `[B, H, W, C]` where there is none: convolution and resizing fail on nothing."""
    missing = tf.maximum(1 - tf.shape(images)[:3], 0)
    return tf.pad(images, [[0, missing[0]], [0, missing[1]], [0, missing[2]], [0, 0]])
