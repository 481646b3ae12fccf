r"""Trains a run as `semppl.trainers.pretrain` does, where two more encoders have names: variants of `resnet9`.

    python -m semppl.benchmarks.small_budget.resnet9_variants --preset=cifar10_1_percent_cpu --data_dir=tfds \
      --encoder=resnet9_fixed_gain --workdir=outputs/fixed_gain

`resnet9_fixed_gain` has batch norms without a learnt gain; `resnet9_norm_before_pool` pools after normalisation and ReLU. Both are
tricks of records of training speed that `semppl.benchmarks.small_budget.ablations` measures.

Reference: Page 2019, "How to train your ResNet 8: bag of tricks".
"""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from semppl.layers.blocks.normalisation import BatchNorm
from semppl.layers.encoders import registry
from semppl.layers.encoders.pooling import spatial_mean
from semppl.layers.encoders.resnet9 import ResNet9
from semppl.trainers import pretrain


class FixedGain(ResNet9):
    """`ResNet9` whose batch norms add a learnt offset, and multiply by no learnt gain."""

    def __init__(self, widths: Sequence[int], norm: str = "batch", **kwargs: Any):
        if norm != "batch":
            raise ValueError(f"`norm` must be batch. Received: norm={norm!r}")
        super().__init__(widths, **kwargs)
        self.pooled_norms, self.residual_norms = (
            [BatchNorm(scale=False, name=f"{part}_norm_{group}") for group in range(len(self.widths))]
            for part in ("pooled", "residual")
        )


class NormBeforePool(ResNet9):
    """`ResNet9` whose pooled convolutions are normalised, then pass ReLU, then are pooled."""

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images `[B, H, W, channels]` to features `[B, widths[-1]]`."""
        features = tf.nn.relu(self.whitening(images))
        for pooled, pooled_norm, residual, residual_norm in self._groups():
            features = tf.nn.relu(pooled_norm(pooled(features), training=training))
            features = tf.nn.max_pool2d(features, 2, 2, "VALID")
            features += tf.nn.relu(residual_norm(residual(features), training=training))
        return spatial_mean(features)


VARIANTS = {"resnet9_fixed_gain": FixedGain, "resnet9_norm_before_pool": NormBeforePool}


def register() -> None:
    """Adds the variants to the encoders of this process."""
    for name, kind in VARIANTS.items():
        registry.ENCODERS[name] = functools.partial(registry.resnet9, kind=kind)
    registry.WITH_WIDTHS = (*registry.WITH_WIDTHS, *(name for name in VARIANTS if name not in registry.WITH_WIDTHS))


if __name__ == "__main__":
    register()
    pretrain.run()
