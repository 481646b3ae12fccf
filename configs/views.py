"""The augmented views of an image: how many, how large, and by which recipe."""

import dataclasses

from semppl.configs.setting import Settings, require, setting


@dataclasses.dataclass(frozen=True)
class ViewSettings(Settings):
    """The views that are made of every image."""

    recipe: str = setting(
        "views",
        "imagenet",
        "Name of the augmentation recipe: imagenet, cifar, gentle, grey, digits, randaugment, randaugment_digits or identity.",
    )
    large_views: int = setting(
        "views", 4, "L, large views per image, which pass through the online and the target network."
    )
    small_views: int = setting("views", 2, "S, small views per image, which pass through the online network only.")
    large_size: int = setting("views", 224, "Height and width of a large view, in pixels.")
    small_size: int = setting("views", 96, "Height and width of a small view, in pixels.")
    inference_size: int = setting(
        "views",
        0,
        "Height and width of a picture in evaluation and in an exported model, in pixels; 0: --large_size, which --train=heads "
        "requires. A preset's value is for random crops, and counts as 0 with views of whole pictures, as of --recipe=randaugment. "
        "Fixed when the run starts.",
    )
    cached_views: int = setting(
        "views",
        9,
        "Number of views of each picture whose features are computed before the first step, with --train=heads only: the picture "
        "as evaluation prepares it, and random large views.",
    )
    mask_probability: float = setting(
        "views", 0.1, "p_m, probability that a large view's background is removed, where the image has a mask."
    )

    @property
    def num_views(self) -> int:
        """V = L + S."""
        return self.large_views + self.small_views

    @property
    def embedded_size(self) -> int:
        """Height and width of a picture in evaluation and in an exported model, in pixels."""
        return self.inference_size or self.large_size

    def check(self) -> None:
        """Validates the group."""
        require(self.large_views >= 1, "large_views", "1 or more", self.large_views)
        require(self.small_views >= 0, "small_views", "0 or more", self.small_views)
        require(self.large_size >= 8, "large_size", "8 or more pixels", self.large_size)
        require(self.small_size >= 8, "small_size", "8 or more pixels", self.small_size)
        require(
            self.inference_size == 0 or self.inference_size >= 8,
            "inference_size",
            "0, or 8 or more pixels",
            self.inference_size,
        )
        require(self.cached_views >= 1, "cached_views", "1 or more", self.cached_views)
        require(0 <= self.mask_probability <= 1, "mask_probability", "in 0..1", self.mask_probability)
