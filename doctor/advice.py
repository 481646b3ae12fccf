"""Advice on a run: settings that suit the data and this machine better than those in use, and how long the run will take."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted

_SIZES = (32, 48, 64, 96, 128, 224)
_COLOURS = 3  # channels of pretrained networks
_ENOUGH_TO_FINE_TUNE = 2_000  # pictures, with a GPU
_MANY = 20_000  # pictures of which fewer views are cached
_FEW_VIEWS = 5
_SMALLEST_BATCH = 16
_BATCHES_AN_EPOCH = 4
PRESETS = "own_pictures_"
"""Beginning of the names of presets for pictures of one's own."""

Suggestions = dict[str, dict[str, str]]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What advice depends on.

    Attributes:
        images: Number of training images.
        labelled: Number of those with a label.
        channels: Number of channels.
        shorter_side: Median of the shorter sides of picture files, in pixels; 0 if the images come from no folder.
        accelerated: Whether this machine has a GPU.
    """

    images: int
    labelled: int
    channels: int
    shorter_side: int
    accelerated: bool


def suggest(pictures: Pictures, settings: Hyperparameters) -> Suggestions:
    """Suggests settings that differ from those in use.

    Args:
        pictures: Description of the training images and the machine.
        settings: Settings in use.

    Returns:
        For each name of a flag, a dictionary with its value and the reason. Another preset comes alone, since it has values of
        its own.
    """
    preset, why = _preset(pictures)
    if pictures.shorter_side and preset != _preset_in_use(settings):
        return {"preset": {"value": PRESETS + preset, "reason": why}}
    suggestions: Suggestions = {}
    for name, value, reason in (*_for_sizes(pictures, settings), *_for_numbers(pictures, settings)):
        if str(getattr(settings, name)) != str(value):
            suggestions[name] = {"value": str(value), "reason": reason}
    return suggestions


def _preset(pictures: Pictures) -> tuple[str, str]:
    """Returns the end of the name of the preset for pictures of one's own, and the reason for it."""
    if pictures.channels != _COLOURS:
        return "from_scratch_cpu", f"pretrained networks take pictures of three channels, not {pictures.channels}"
    if pictures.accelerated and pictures.images >= _ENOUGH_TO_FINE_TUNE:
        return (
            "finetune",
            f"with a GPU and {counted(pictures.images, 'picture')}, a pretrained network can be trained as a whole",
        )
    few = "on a CPU" if not pictures.accelerated else f"with {counted(pictures.images, 'picture')}"
    return (
        "cpu",
        f"{few}, heads on a pretrained network need minutes and are more accurate than training from random weights",
    )


def _preset_in_use(settings: Hyperparameters) -> str:
    if settings.train == "heads":
        return "cpu"
    return "finetune" if ":" in settings.encoder else "from_scratch_cpu"


def _for_sizes(pictures: Pictures, settings: Hyperparameters) -> list[tuple[str, object, str]]:
    """Returns suggestions for sizes: name, value and reason."""
    advice: list[tuple[str, object, str]] = []
    size, side = settings.large_size, pictures.shorter_side
    if side and size > side and ":" not in settings.encoder:  # pretrained networks gain from enlarged pictures
        fitting = max((one for one in _SIZES if one <= side), default=_SIZES[0])
        advice.append(("large_size", fitting, f"half of the pictures have a shorter side below {side + 1} pixels"))
        size = fitting
    largest = max(size, settings.inference_size)
    if settings.shrink and settings.shrink < largest:
        what = "views" if largest == size else "pictures in evaluation"
        why = f"{what} of {largest} pixels are enlarged from pictures of {settings.shrink}"
        advice.append(("shrink", round(1.25 * largest), why))
    if pictures.channels == 1 and settings.recipe in ("imagenet", "cifar", "gentle"):
        advice.append(("recipe", "grey", "pictures of one channel have no colours to change"))
    return advice


def _for_numbers(pictures: Pictures, settings: Hyperparameters) -> list[tuple[str, object, str]]:
    """Returns suggestions for numbers of images: name, value and reason."""
    advice: list[tuple[str, object, str]] = []
    batch = max(_SMALLEST_BATCH, pictures.images // _BATCHES_AN_EPOCH)
    all_labelled = pictures.labelled == pictures.images
    if all_labelled and settings.labelled_batch_size not in (0, settings.batch_size):
        advice.append(("labelled_batch_size", 0, "every image has a label, so every image of a batch does"))
    if settings.batch_size > batch:
        why = f"a batch of {settings.batch_size} is more than a quarter of the {counted(pictures.images, 'image')}"
        advice.append(("batch_size", batch, why))
        if settings.method == Hyperparameters.method:
            advice.append(("queue_size", 10 * batch, f"ten batches of {batch}"))
        if settings.method == Hyperparameters.method and settings.negatives >= batch:
            advice.append(("negatives", batch - 1, f"a batch of {batch} has no more other images"))
        if settings.labelled_batch_size > batch // 2 and 0 < pictures.labelled < pictures.images:
            half, labelled = batch // 2, pictures.labelled
            why = f"half of a batch of {batch}" if half <= labelled else "that is every labelled image"
            advice.append(("labelled_batch_size", min(half, labelled), why))
    if settings.train == "heads" and pictures.images >= _MANY and settings.cached_views > _FEW_VIEWS:
        views = f"features of {pictures.images * settings.cached_views:,} views take long"
        advice.append(("cached_views", _FEW_VIEWS, views))
    return advice


def verdict(report: Mapping[str, Any]) -> str:
    """Returns one sentence: whether a run can start, and how long it takes.

    Args:
        report: Report that `examine.examine` returns.
    """
    stopping = sum(problem["stops"] for problem in report["problems"])
    if stopping:
        return f"not ready: {stopping} finding{'s stop' if stopping > 1 else ' stops'} the run"
    time = report.get("time")
    if not time:
        return "ready; how long the run takes was not measured"
    before = time["seconds_before_first_step"]
    start = f", after {in_words(before)} before the first step" if before >= 1 else ""
    return (
        f"ready: {time['steps']:,} steps, about {in_words(time['seconds'])} on this machine{start}{_of_features(time)}"
    )


def _of_features(time: Mapping[str, Any]) -> str:
    """Returns, in brackets, how much of the time before the first step features take; empty if the run needs none."""
    if "features_left" not in time:
        return ""
    left = time["features_left"]
    if not left:
        return " (all features are cached)"
    return (
        f" ({in_words(time['seconds_of_features'])} for the features of {counted(left, 'picture')} that are not cached)"
    )


def in_words(seconds: float) -> str:
    """Formats a duration: "50 s", "12 min" or "2 h 45 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
