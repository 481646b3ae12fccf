"""Residual networks: every depth, width and variant from one definition."""

from typing import Any, NamedTuple

import tensorflow as tf

from semppl.layers.blocks.normalisation import convolution, normalisation
from semppl.layers.blocks.recomputation import checkpointed
from semppl.layers.encoders.pooling import spatial_mean
from semppl.layers.encoders.selective_kernel import SelectiveKernel

BLOCKS_PER_GROUP: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
STEMS = ("imagenet", "cifar")
SMALLEST_BOTTLENECK_DEPTH = 50
_CHANNEL_MULTIPLE = 8


class Layout(NamedTuple):
    """The details in which published definitions of a network differ.

    Attributes:
        centred_convolutions: Whether strided convolutions pad all sides equally, rather than more
            right and below.
        centred_pool: Whether the stem's max-pool pads all sides equally.
        strided: Index of the convolution with the stride in a bottleneck.
    """

    centred_convolutions: bool
    centred_pool: bool
    strided: int


LAYOUTS = {
    "official": Layout(centred_convolutions=False, centred_pool=False, strided=1),
    "simclr": Layout(centred_convolutions=True, centred_pool=False, strided=1),
    "keras": Layout(centred_convolutions=True, centred_pool=True, strided=0),
}


def scaled_channels(channels: int, width: float) -> int:
    """Multiplies a number of channels by `width` and rounds to the nearest positive multiple of 8."""
    return _CHANNEL_MULTIPLE * max(1, round(channels * width / _CHANNEL_MULTIPLE))


class _ResidualBlock(tf.keras.layers.Layer):
    """The layers of a residual block: 3×3, 3×3, or a bottleneck of 1×1, 3×3, and 1×1 to four times the channels.

    The first 3×3 convolution has the stride, unless the layout differs. Selective kernels double
    its channels and mix them afterwards; the projected shortcut then averages 2×2 pixels instead of
    dropping three of four.

    Args:
        channels: Number of channels of the 3×3 convolutions.
        strides: Stride in both directions. Default 1.
        bottleneck: Whether the block is a bottleneck. Default False.
        project: Whether the shortcut is a 1×1 convolution rather than the identity. Default False.
        norm: Key of `NORMALISATIONS`; "group" also standardises the convolutions' weights. Default
            "batch".
        selective: Whether to use selective kernels. Default False.
        layout: Key of `LAYOUTS`. Default "official".
    """

    _normalises_shortcut = True

    def __init__(
        self,
        channels: int,
        strides: int = 1,
        bottleneck: bool = False,
        project: bool = False,
        norm: str = "batch",
        selective: bool = False,
        layout: str = "official",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.channels = channels
        self.strides = strides
        self.bottleneck = bottleneck
        self.project = project
        self.norm = norm
        self.selective = selective
        self.layout = layout
        streams = 2 if selective else 1
        shapes = [(channels, 3, strides), (channels, 3, 1)]  # filters, kernel size, strides
        if bottleneck:
            first, second = (strides, 1) if LAYOUTS[layout].strided == 0 else (1, strides)
            shapes = [(channels, 1, first), (streams * channels, 3, second), (4 * channels, 1, 1)]
        self.convolutions = [self._convolution(*shape, name=f"conv_{i}") for i, shape in enumerate(shapes)]
        self.norms = [
            normalisation(norm, name=f"norm_{i}", gamma_initializer=self._gamma_initializer(i))
            for i in range(len(shapes))
        ]
        if selective:
            self.mixture = SelectiveKernel(norm=norm, name="selective_kernel")
        if project:
            self.shortcut_conv = self._convolution(shapes[-1][0], 1, 1 if selective else strides, name="shortcut_conv")
            if self._normalises_shortcut:
                self.shortcut_norm = normalisation(norm, name="shortcut_norm")

    def _convolution(self, *shape: int, name: str) -> tf.keras.layers.Conv2D:
        return _convolution(*shape, norm=self.norm, layout=self.layout, name=name)

    def _gamma_initializer(self, index: int) -> str:
        raise NotImplementedError

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        keys = ("channels", "strides", "bottleneck", "project", "norm", "selective", "layout")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


@tf.keras.saving.register_keras_serializable(package="semppl")
class PostActivationBlock(_ResidualBlock):
    """A residual block of version 1: every convolution is followed by its normalisation.

    The last gain of a bottleneck starts at 0, so that the block starts as its shortcut.

    Reference: He et al. 2015, arXiv 1512.03385, fig. 5.
    """

    def _gamma_initializer(self, index: int) -> str:
        return "zeros" if self.bottleneck and index == 2 else "ones"

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, channels or 4 channels]`."""
        features = inputs
        for index, (conv, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            features = norm(_convolve(conv, features), training=training)
            if index < len(self.convolutions) - 1:
                features = tf.nn.relu(features)
            if self.selective and index == 1:
                features = self.mixture(features, training=training)
        return tf.nn.relu(features + self._shortcut(inputs, training))

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a linear layer and the normalisation that alone takes its output."""
        pairs = list(zip(self.convolutions, self.norms, strict=True))
        return [*pairs, (self.shortcut_conv, self.shortcut_norm)] if self.project else pairs

    def _shortcut(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        if not self.project:
            return inputs
        if self.selective:
            padding = "SAME"
            if self.strides > 1 and LAYOUTS[self.layout].centred_convolutions:  # odd sides: zeros count in the mean
                inputs, padding = tf.pad(inputs, [[0, 0], [0, 1], [0, 1], [0, 0]]), "VALID"
            inputs = tf.nn.avg_pool2d(inputs, 2, self.strides, padding)
        return self.shortcut_norm(self.shortcut_conv(inputs), training=training)


@tf.keras.saving.register_keras_serializable(package="semppl")
class PreActivationBlock(_ResidualBlock):
    """A residual block of version 2: every convolution follows its normalisation.

    Reference: He et al. 2016, arXiv 1603.05027, fig. 4e.
    """

    _normalises_shortcut = False

    def _gamma_initializer(self, index: int) -> str:
        return "ones"

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, channels or 4 channels]`."""
        features = shortcut = inputs
        for index, (conv, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            features = tf.nn.relu(norm(features, training=training))
            if self.project and index == 0:
                shortcut = self.shortcut_conv(features)
            features = conv(features)
        return features + shortcut

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a linear layer and the normalisation that alone takes its output."""
        return list(zip(self.convolutions, self.norms[1:], strict=False))


@tf.keras.saving.register_keras_serializable(package="semppl")
class ResNet(tf.keras.layers.Layer):
    """A residual network up to its mean-pooled features, without a final layer.

    Versions 1 and 2 match the official evaluation code, whose first group projects its shortcut at
    every depth: ResNet-18 and -34 have 4,224 parameters (1×) more than other definitions. Selective
    kernels follow SimCLRv2, except that strided convolutions have "same" padding, one pixel further
    right and below. The layouts "simclr" and "keras" are for imported weights: SimCLR's
    convolutions, and Keras Applications' strides and padding.

    Args:
        depth: Number of layers: 18, 34, 50, 101, 152 or 200.
        version: 1 (post-activation, the default) or 2 (pre-activation).
        width: Multiplier of all numbers of channels, which are rounded to multiples of 8. Default
            1.
        norm: Key of `NORMALISATIONS`; "group" also standardises the convolutions' weights. Default
            "batch".
        stem: "imagenet" (the default), which divides the image's sides by 4, or "cifar", one 3×3
            convolution of stride 1.
        selective: Whether to use selective kernels, for version 1 and depth 50 or more. Default
            False.
        layout: Key of `LAYOUTS`; version 2 has "official", the default, only.

    Reference: He et al. 2015, arXiv 1512.03385; He et al. 2016, arXiv 1603.05027; Chen et al. 2020,
    arXiv 2006.10029; group norm and weight standardisation: Richemond et al. 2020, arXiv
    2010.10241.
    """

    def __init__(
        self,
        depth: int,
        version: int = 1,
        width: float = 1,
        norm: str = "batch",
        stem: str = "imagenet",
        selective: bool = False,
        layout: str = "official",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if depth not in BLOCKS_PER_GROUP:
            raise ValueError(f"`depth` must be one of {sorted(BLOCKS_PER_GROUP)}. Received: depth={depth}")
        if version not in (1, 2):
            raise ValueError(f"`version` must be 1 or 2. Received: version={version}")
        if width <= 0:
            raise ValueError(f"`width` must be positive. Received: width={width}")
        if stem not in STEMS:
            raise ValueError(f"`stem` must be one of {STEMS}. Received: stem={stem!r}")
        if selective and (version == 2 or depth < SMALLEST_BOTTLENECK_DEPTH):
            raise ValueError(
                f"`selective` needs version 1 and a depth of 50 or more. Received: version={version}, depth={depth}"
            )
        if layout not in LAYOUTS or (layout != "official" and version == 2):
            raise ValueError(
                f"`layout` must be one of {sorted(LAYOUTS)}, and 'official' with version 2. "
                f"Received: layout={layout!r}, version={version}"
            )
        self.depth = depth
        self.version = version
        self.width = width
        self.norm = norm
        self.stem = stem
        self.selective = selective
        self.layout = layout
        self.stem_convolutions, self.stem_norms = self._make_stem()
        self.block_groups = [self._make_group(group) for group in range(4)]
        if version == 2:
            self.final_norm = normalisation(norm, name="final_norm")

    def _make_stem(self) -> tuple[list[tf.keras.layers.Layer], list[tf.keras.layers.Layer]]:
        channels = scaled_channels(64, self.width)
        shapes = [(channels, 3, 1)] if self.stem == "cifar" else [(channels, 7, 2)]  # filters, kernel size, strides
        if self.stem == "imagenet" and self.selective:
            shapes = [(channels // 2, 3, 2), (channels // 2, 3, 1), (channels, 3, 1)]
        suffixes = [f"_{i}" for i in range(len(shapes))] if len(shapes) > 1 else [""]
        convolutions = [
            _convolution(*shape, norm=self.norm, layout=self.layout, name=f"initial_conv{suffix}")
            for shape, suffix in zip(shapes, suffixes, strict=True)
        ]
        if self.version == 2:
            return convolutions, []
        return convolutions, [normalisation(self.norm, name=f"initial_norm{suffix}") for suffix in suffixes]

    def _make_group(self, group: int) -> list[tf.keras.layers.Layer]:
        block = PostActivationBlock if self.version == 1 else PreActivationBlock
        return [
            block(
                channels=scaled_channels(64, self.width) * 2**group,
                strides=2 if group and not index else 1,
                bottleneck=self.depth >= SMALLEST_BOTTLENECK_DEPTH,
                project=index == 0,
                norm=self.norm,
                selective=self.selective,
                layout=self.layout,
                name=f"block_{index}",
            )
            for index in range(BLOCKS_PER_GROUP[self.depth][group])
        ]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, channels]` to features `[B, D]` in float32 or wider."""
        features = self._apply_stem(images, training)
        for index, group in enumerate(self.block_groups):
            with tf.name_scope(f"block_group_{index}"):
                for block in group:
                    features = checkpointed(block, features, training=training)
        if self.version == 2:
            features = tf.nn.relu(self.final_norm(features, training=training))
        return spatial_mean(features)

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a linear layer and the normalisation that alone takes its output."""
        return list(zip(self.stem_convolutions, self.stem_norms, strict=False))  # version 2 has no norm here

    @property
    def stages(self) -> list[list[tf.keras.layers.Layer]]:
        """The blocks of each resolution; the first stage includes the layers before the blocks."""
        first, *between, last = self.block_groups
        end = [self.final_norm] if self.version == 2 else []
        return [[*self.stem_convolutions, *self.stem_norms, *first], *map(list, between), [*last, *end]]

    def _apply_stem(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        features = images
        for index, conv in enumerate(self.stem_convolutions):
            features = _convolve(conv, features)
            if self.stem_norms:
                features = tf.nn.relu(self.stem_norms[index](features, training=training))
        if self.stem == "cifar":
            return features
        if LAYOUTS[self.layout].centred_pool:  # zeros are at most a ReLU's outputs
            return tf.nn.max_pool2d(tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")
        return tf.nn.max_pool2d(features, 3, 2, "SAME")

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        keys = ("depth", "version", "width", "norm", "stem", "selective", "layout")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


def _convolution(
    filters: int, kernel_size: int, strides: int, *, norm: str, layout: str, name: str
) -> tf.keras.layers.Conv2D:
    centred = strides > 1 and LAYOUTS[layout].centred_convolutions
    padding = "valid" if centred else "same"
    return convolution(filters, kernel_size, strides, standardise=norm == "group", padding=padding, name=name)


def _convolve(conv: tf.keras.layers.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
    """Convolves; pads the inputs equally on all sides if the layer does not pad."""
    if conv.padding == "valid":
        border = conv.kernel_size[0] // 2
        inputs = tf.pad(inputs, [[0, 0], [border, border], [border, border], [0, 0]])
    return conv(inputs)
