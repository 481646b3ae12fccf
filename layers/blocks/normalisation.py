"""Normalisation of activations and of weights."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from semppl.layers import collectives
from semppl.layers.blocks.initialisers import fan_in_normal
from semppl.layers.blocks.recomputation import moves_averages
from semppl.layers.blocks.small_maps import Convolution

_SPATIAL_CHANNELS_PER_GROUP = 2
_VECTOR_CHANNELS_PER_GROUP = 16
_KERNEL_EPSILON = 1e-10


class _Affine(tf.keras.layers.Layer):
    """A gain and an offset per channel, in float32, or float64 under a float64 policy."""

    def __init__(self, *, epsilon: float, center: bool, scale: bool, gamma_initializer: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.gamma_initializer = gamma_initializer
        self.beta: tf.Tensor | tf.Variable = None
        self.gamma: tf.Tensor | tf.Variable = None

    @property
    def statistics_dtype(self) -> tf.DType:
        return tf.float64 if self.compute_dtype == "float64" else tf.float32

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = input_shape[-1]
        if channels is None:
            raise ValueError(f"The last dimension must be known. Received: input_shape={input_shape}")
        if self.scale:
            self.gamma = self._channel_weight("gamma", channels, self.gamma_initializer)
        if self.center:
            self.beta = self._channel_weight("beta", channels, "zeros")
        super().build(input_shape)

    def _channel_weight(self, name: str, channels: int, initializer: str, **options: Any) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=(channels,),
            dtype=self.statistics_dtype,
            initializer=initializer,
            experimental_autocast=False,
            **options,
        )

    def _gain_and_offset(self, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
        gain = self.gamma if self.scale else tf.ones((channels,), self.statistics_dtype)
        offset = self.beta if self.center else tf.zeros((channels,), self.statistics_dtype)
        return tf.convert_to_tensor(gain), tf.convert_to_tensor(offset)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "gamma_initializer": self.gamma_initializer,
        }


@tf.keras.saving.register_keras_serializable(package="semppl")
class BatchNorm(_Affine):
    """Normalises every channel by its mean and variance over the batches of all replicas.

    Only `training` selects training mode: a layer with `trainable=False`, as in a target network,
    still uses and records its own batch statistics; only a layer with `frozen=True` is in inference
    mode always. The moving variance is the biased one, so that it does not depend on the number of
    replicas.

    Args:
        momentum: Decay of the moving averages per training step, in [0, 1). Default 0.9.
        epsilon: Constant added to the variance. Default 1e-5.
        center: Whether to add a learnt offset, `beta`. Default True.
        scale: Whether to multiply by a learnt gain, `gamma`. Default True.
        gamma_initializer: Initialiser of the gain. Default "ones".

    Reference: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        gamma_initializer: str = "ones",
        **kwargs: Any,
    ):
        super().__init__(epsilon=epsilon, center=center, scale=scale, gamma_initializer=gamma_initializer, **kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum` must be in [0, 1). Received: momentum={momentum}")
        self.momentum = momentum
        self.folded = False
        """Whether the layer only adds an offset, see `fold_into`."""
        self.frozen = False
        """Whether training also normalises by the moving averages, and does not move them."""

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the variables."""
        super().build(input_shape)
        # Every replica computes equal averages: a checkpoint saves the first's, without communication between workers.
        options = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.moving_mean = self._channel_weight("moving_mean", input_shape[-1], "zeros", **options)
        self.moving_variance = self._channel_weight("moving_variance", input_shape[-1], "ones", **options)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalises `[..., C]`; in training mode also updates the averages, unless called in `keeping_averages`."""
        gain, offset = self._gain_and_offset(inputs.shape[-1])
        if self.folded:
            return tf.nn.bias_add(inputs, tf.cast(offset, inputs.dtype))
        if not training or self.frozen:
            return self._by_averages(inputs, gain, offset, training)
        if collectives.num_replicas() == 1 and inputs.dtype != tf.float64:
            outputs, mean, variance = _fused_training_batch_norm(inputs, gain, offset, self.epsilon)
        else:
            mean, variance = _replicated_moments(tf.cast(inputs, self.statistics_dtype), self.moving_mean)
            outputs = _normalise(inputs, mean, variance, gain, offset, self.epsilon)
        if moves_averages():
            self._update(self.moving_mean, mean)
            self._update(self.moving_variance, variance)
        return outputs

    def _by_averages(self, inputs: tf.Tensor, gain: tf.Tensor, offset: tf.Tensor, training: bool) -> tf.Tensor:
        return _normalise(inputs, self.moving_mean, self.moving_variance, gain, offset, self.epsilon)

    def fold_into(self, layer: tf.keras.layers.Layer) -> None:
        """Moves the factors of inference into the preceding linear layer, for good; neither can be trained then.

        Args:
            layer: Convolution or dense layer whose output is the input of this layer alone.

        Raises:
            ValueError: If this layer has no offset or is folded already.
        """
        if self.folded or not self.center:
            received = f"folded={self.folded}, center={self.center}"
            raise ValueError(f"A layer to be folded must have an offset, and not be folded. Received: {received}")
        gain, offset = self._gain_and_offset(layer.kernel.shape[-1])
        scale = gain * tf.math.rsqrt(self.moving_variance + self.epsilon)
        mean = tf.convert_to_tensor(self.moving_mean)
        if layer.use_bias:
            mean -= layer.bias
            layer.bias.assign(tf.zeros_like(layer.bias))
        layer.kernel.assign(layer.kernel * scale)
        self.beta.assign(offset - mean * scale)
        self.folded = True

    def _update(self, average: tf.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum}


@tf.keras.saving.register_keras_serializable(package="semppl")
class FusedBatchNorm(BatchNorm):
    """`BatchNorm` whose inference is one kernel, bit for bit that of Keras' layer; for third-party networks.

    Frozen layers in training mode do not use the kernel: on a GPU, its gradient has no deterministic
    implementation.
    """

    def _by_averages(self, inputs: tf.Tensor, gain: tf.Tensor, offset: tf.Tensor, training: bool) -> tf.Tensor:
        if training or inputs.dtype == tf.float64 or inputs.shape.rank != 4:
            return super()._by_averages(inputs, gain, offset, training)
        mean, variance = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
        fused = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=gain, offset=offset, mean=mean, variance=variance, epsilon=self.epsilon, is_training=False
        )
        return fused.y  # an operation between this and an activation would keep TensorFlow from joining both


@tf.keras.saving.register_keras_serializable(package="semppl")
class GroupNorm(_Affine):
    """Normalises groups of channels within one example, so that no example depends on another.

    The number of groups is the largest divisor of the number of channels that is at most `groups`
    and leaves at least 2 channels per group on feature maps and 16 on vectors: a normalised group
    of few numbers is little more than their signs.

    Args:
        groups: Largest number of groups. Default 32.
        epsilon: Constant added to the variance. Default 1e-5.
        center: Whether to add a learnt offset, `beta`. Default True.
        scale: Whether to multiply by a learnt gain, `gamma`. Default True.
        gamma_initializer: Initialiser of the gain. Default "ones".

    Reference: Wu and He 2018, arXiv 1803.08494, eq. 7.
    """

    def __init__(
        self,
        groups: int = 32,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        gamma_initializer: str = "ones",
        **kwargs: Any,
    ):
        super().__init__(epsilon=epsilon, center=center, scale=scale, gamma_initializer=gamma_initializer, **kwargs)
        if groups < 1:
            raise ValueError(f"`groups` must be at least 1. Received: groups={groups}")
        self.groups = groups

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises `[B, ..., C]`."""
        channels = inputs.shape[-1]
        gain, offset = self._gain_and_offset(channels)
        min_channels = _VECTOR_CHANNELS_PER_GROUP if inputs.shape.rank == 2 else _SPATIAL_CHANNELS_PER_GROUP
        groups = _number_of_groups(channels, self.groups, min_channels)
        shape = tf.shape(inputs)
        grouped = tf.reshape(tf.cast(inputs, self.statistics_dtype), [shape[0], -1, groups, channels // groups])
        mean, variance = tf.nn.moments(grouped, [1, 3], keepdims=True)  # [B,1,G,1]
        grouped = (grouped - mean) * tf.math.rsqrt(variance + self.epsilon)
        outputs = tf.reshape(grouped, shape) * gain + offset
        return tf.cast(tf.ensure_shape(outputs, inputs.shape), inputs.dtype)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "groups": self.groups}


@tf.keras.saving.register_keras_serializable(package="semppl")
class StandardisedConv2D(Convolution):
    """A convolution that standardises its kernel to mean 0 and variance 1 / fan-in per output channel.

    Reference: Qiao et al. 2019, arXiv 1903.10520, eq. 7; the division by the fan-in, which group
    norm undoes, keeps the outputs at the scale of the inputs.
    """

    def add_weight(self, name: str, **options: Any) -> tf.Variable:
        """Creates a variable; the kernel is not autocast, because it is standardised before it is rounded."""
        return super().add_weight(name=name, experimental_autocast=name != "kernel", **options)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolves with the standardised kernel."""
        weights = tf.cast(kernel, tf.float64 if kernel.dtype == tf.float64 else tf.float32)
        mean, variance = tf.nn.moments(weights, [0, 1, 2], keepdims=True)
        fan_in = math.prod(weights.shape[:-1])
        weights = (weights - mean) * tf.math.rsqrt(fan_in * (variance + _KERNEL_EPSILON))
        return super().convolution_op(inputs, tf.cast(weights, inputs.dtype))


def convolution(
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    standardise: bool = False,
    padding: str = "same",
    name: str | None = None,
) -> tf.keras.layers.Conv2D:
    """Makes a convolution without bias, to be followed by a normalisation.

    Args:
        filters: Number of channels of the output.
        kernel_size: Height and width of the kernel.
        strides: Stride in both directions. Default 1.
        standardise: Whether to standardise the weights. Default False.
        padding: "same" (the default) or "valid".
        name: Name of the layer.
    """
    kind = StandardisedConv2D if standardise else Convolution
    return kind(
        filters,
        kernel_size,
        strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=fan_in_normal(),
        name=name,
    )


NORMALISATIONS: dict[str, Callable[..., tf.keras.layers.Layer]] = {"batch": BatchNorm, "group": GroupNorm}


def normalisation(kind: str, name: str | None = None, **options: Any) -> tf.keras.layers.Layer:
    """Makes a normalisation layer.

    Args:
        kind: Key of `NORMALISATIONS`.
        name: Name of the layer.
        **options: Arguments of the layer.

    Raises:
        ValueError: If `kind` is unknown.
    """
    if kind not in NORMALISATIONS:
        raise ValueError(f"`kind` must be one of {sorted(NORMALISATIONS)}. Received: kind={kind!r}")
    return NORMALISATIONS[kind](name=name, **options)


def _normalise(
    inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, gain: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tf.Tensor:
    centred = tf.cast(inputs, gain.dtype) - mean
    return tf.cast(centred * (tf.math.rsqrt(variance + epsilon) * gain) + offset, inputs.dtype)


def _replicated_moments(inputs: tf.Tensor, near: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes mean and biased variance of every channel over all replicas, in one differentiable collective.

    The sums are of the differences from `near`, `[C]` and equal on all replicas: the closer `near`
    is to the mean, the fewer digits cancel in the difference of the mean square and the squared
    mean.
    """
    channels = inputs.shape[-1]
    differences = tf.reshape(inputs - near, [-1, channels])
    count = tf.cast(tf.shape(differences)[:1], inputs.dtype)
    sums = tf.concat([tf.reduce_sum(differences, 0), tf.reduce_sum(tf.square(differences), 0), count], 0)
    total, squares, count = tf.split(collectives.all_reduce_sum(sums), [channels, channels, 1])
    mean = total / count
    return near + mean, tf.nn.relu(squares / count - tf.square(mean))


def _fused_training_batch_norm(
    inputs: tf.Tensor, gain: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises on one replica in a single kernel; returns outputs, mean and biased variance of the batch.

    Calls the raw operation, because the public one raises `epsilon` to 1.001e-5.
    """
    images = inputs if inputs.shape.rank == 4 else tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]])
    fused = tf.raw_ops.FusedBatchNormV3(
        x=images, scale=gain, offset=offset, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    outputs = fused.y if inputs.shape.rank == 4 else tf.reshape(fused.y, tf.shape(inputs))
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], gain.dtype)
    biased = fused.batch_variance * (tf.maximum(count - 1, 1) / count)
    return tf.ensure_shape(outputs, inputs.shape), fused.batch_mean, biased


def _number_of_groups(channels: int, max_groups: int, min_channels: int) -> int:
    max_groups = max(1, min(max_groups, channels // min_channels))
    return next(groups for groups in range(max_groups, 0, -1) if channels % groups == 0)
