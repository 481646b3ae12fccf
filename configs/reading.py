"""How the sources of a run are read: where prepared and cached data lie, and how files become pixels."""

import dataclasses

from semppl.configs.setting import Settings, require, setting

MAX_PIXELS = 178_956_970  # Pillow's limit
TRUNCATED = ("skip", "keep")


@dataclasses.dataclass(frozen=True)
class ReadingSettings(Settings):
    """How sources are read."""

    data_dir: str = setting(
        "data",
        "",
        "Folder with prepared data sets of tensorflow-datasets; empty: tensorflow-datasets' default.",
        is_path=True,
    )
    channels: int = setting(
        "data",
        0,
        "C, channels per image: 1 (grey), 3 (RGB), or any other number; 0: the number of values in --pixel_mean.",
    )
    shrink: int = setting(
        "data",
        0,
        "Shorter side, in pixels, to which larger pictures are downscaled before views are cropped; 0: no downscaling.",
    )
    cache_dir: str = setting(
        "data", "", "Folder in which decoded and downscaled pictures are cached; empty: no cache.", is_path=True
    )
    image_feature: str = setting("data", "image", "`tfrecord:` only: the feature that holds the encoded picture.")
    label_feature: str = setting(
        "data", "label", "`tfrecord:` only: the integer feature that holds the class; may be absent."
    )
    mask_feature: str = setting(
        "data",
        "",
        "`tfds:` and `tfrecord:` in --data only: the feature that holds the mask, a picture that is zero on the background; "
        "empty: no masks.",
    )
    name_feature: str = setting(
        "data", "", "`tfrecord:` only: the feature that holds the picture's name; empty: no names."
    )
    truncated: str = setting(
        "data", "skip", "Truncated picture files: `skip` ignores the file, `keep` uses the part that can be decoded."
    )
    max_pixels: int = setting("data", 100_000_000, "Picture files with more pixels are skipped.")
    max_bad_fraction: float = setting(
        "data",
        0.01,
        "Largest share of a source's pictures that may be skipped, in 0..1; above it, training does not start.",
    )

    def check(self) -> None:
        """Validates the group."""
        require(self.channels >= 0, "channels", "0 or more", self.channels)
        require(self.truncated in TRUNCATED, "truncated", " or ".join(TRUNCATED), self.truncated)
        require(1 <= self.max_pixels <= MAX_PIXELS, "max_pixels", f"in 1..{MAX_PIXELS}", self.max_pixels)
        require(0 <= self.max_bad_fraction <= 1, "max_bad_fraction", "in 0..1", self.max_bad_fraction)
        require(self.shrink == 0 or self.shrink >= 8, "shrink", "0, or 8 or more pixels", self.shrink)
