"""The architecture of the online and the target network."""

import dataclasses

from semppl.configs.setting import Settings, require, setting

TRAINED = ("all", "heads", "nothing")
"""The parts of the networks that a run may train."""

FROZEN_NORMS = ("auto", "true", "false")


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Settings):
    """The arguments of the networks."""

    encoder: str = setting("networks", "resnet50", "Name of the encoder; docs/reference/encoders.md lists all.")
    width: float = setting("networks", 1.0, "Width multiplier: multiplies the number of channels of every layer.")
    widths: tuple[int, ...] = setting(
        "networks",
        (),
        "Number of channels of each stage of convnet, convnet_stride2 or resnet9, such as 64,128,128, before --width multiplies "
        "them; empty: the encoder's default.",
    )
    norm: str = setting(
        "networks",
        "batch",
        "Normalisation of encoder and heads: batch norm (batch), or group norm with standardised weights of the encoder's "
        "convolutions (group), with which the output for an image does not depend on the rest of the batch.",
    )
    train: str = setting(
        "networks",
        "all",
        "Trained part of the networks: all, heads (projector and predictor, on features of the frozen encoder that are computed "
        "once; see --cached_views), or nothing (a run of no steps, whose weights are the initial ones).",
    )
    frozen_norms: str = setting(
        "networks",
        "auto",
        "Whether the encoder's batch norms use their moving averages in training, and are not trained: true, false, or auto, which "
        "means true with --initial_weights and false without.",
    )
    frozen_stages: int = setting(
        "networks",
        0,
        "Number of the encoder's stages, counted from the image on, that are not trained; stages are defined in "
        "docs/reference/encoders.md.",
    )
    head_width: int = setting("networks", 4096, "Units in the hidden layer of the projector and of the predictor.")
    embedding_width: int = setting("networks", 256, "D, units in the output of the projector and of the predictor.")
    pixel_mean: tuple[float, ...] = setting(
        "networks", (0.485, 0.456, 0.406), "Mean per channel, subtracted from pixels in 0..1."
    )
    pixel_stddev: tuple[float, ...] = setting(
        "networks", (0.229, 0.224, 0.225), "Standard deviation per channel, by which centred pixels are divided."
    )

    def check(self) -> None:
        """Validates the group."""
        require(self.frozen_norms in FROZEN_NORMS, "frozen_norms", ", ".join(FROZEN_NORMS), self.frozen_norms)
        require(self.frozen_stages >= 0, "frozen_stages", "0 or more", self.frozen_stages)
        require(self.train in TRAINED, "train", f"one of {', '.join(TRAINED)}", self.train)
        require(self.width > 0, "width", "positive", self.width)
        require(all(width >= 1 for width in self.widths), "widths", "positive integers", self.widths)
        require(self.head_width >= 1, "head_width", "1 or more", self.head_width)
        require(self.embedding_width >= 1, "embedding_width", "1 or more", self.embedding_width)
        allowed = f"as many values as pixel_mean, {len(self.pixel_mean)}, all positive"
        fits = len(self.pixel_stddev) == len(self.pixel_mean) and all(value > 0 for value in self.pixel_stddev)
        require(fits, "pixel_stddev", allowed, self.pixel_stddev)
