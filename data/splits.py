"""The training, validation and test images of a run: from one source or several, or held out from the training images."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence

import numpy as np

from semppl.configs.data import held_out_share
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.combination import joined, renumbered, with_labels
from semppl.data.images import NO_LABEL, Images, Source
from semppl.data.label_split import labels_of_run
from semppl.data.sources import SOURCES, load_source

_SHRUNK = ("folder:", "tfrecord:")


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        source: Images of the splits, with every known label, and the names of the classes.
        labels: `[n]` int32, the labels of the training images that the run sees; NO_LABEL where hidden.
    """

    source: Source
    labels: np.ndarray


def load_data(hyperparameters: Hyperparameters) -> RunData:
    """Loads the images of a run, and hides the labels that it must not see.

    Raises:
        ValueError: If something that is asked for is not there, naming the flag.
    """
    source = load_splits(hyperparameters)
    return RunData(source, labels_of_run(source, hyperparameters))


def load_splits(hyperparameters: Hyperparameters) -> Source:
    """Loads the images of a run with every known label.

    Classes are equal where their names are. What is held out has no image in training, nor one that shows the same thing.

    Raises:
        ValueError: if something that is asked for is not there, naming the flag.
    """
    source = _load(hyperparameters, "data")
    for split in ("test", "validation"):
        spec = getattr(hyperparameters, split)
        share = held_out_share(spec)
        if share is not None:
            train, held_out = hold_out(source.train, share, seed=hyperparameters.split_seed, flag=split)
            if not len(held_out):
                raise ValueError(
                    f"--{split} must be a source, where no class has a labelled image to spare. Received: {spec}"
                )
            judged, source = (
                source.train.select(held_out),
                dataclasses.replace(source, train=source.train.select(train)),
            )
        elif spec:
            judged = _of_classes(_load(hyperparameters, split), source.class_names, split)
        else:
            continue
        source = (
            dataclasses.replace(source, test=judged)
            if split == "test"
            else dataclasses.replace(source, validation=judged)
        )
    return source


def hold_out(images: Images, share: float, *, seed: int, flag: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Draws images to judge by, a share of each class; images that show the same thing stay together.

    An image's chance depends on its name, where it has one: pictures that are added later do not move the others.

    Args:
        images: of which some have a label.
        share: of each class' labelled images, in (0, 1); one at least, and never the last.
        seed: of the draw.
        flag: that asks for it: test and validation are drawn independently.

    Returns:
        Positions of the images that stay, and of those held out, sorted.

    Raises:
        ValueError: if no image has a label.
    """
    if not (images.labels != NO_LABEL).any():
        raise ValueError(f"--{flag} must be a source, where no training image has a label. Received: {share}")
    groups = np.arange(len(images)) if images.groups is None else images.groups
    members: dict[int, list[int]] = {}
    for position, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(position)
    classes, counts = np.unique(images.labels[images.labels != NO_LABEL], return_counts=True)
    wanted = {c: min(max(1, round(share * n)), n - 1) for c, n in zip(classes.tolist(), counts.tolist(), strict=True)}
    held_out: list[int] = []
    for group in sorted(members.values(), key=lambda group: _rank(images, group[0], f"{flag} {seed}")):
        labels = [int(images.labels[position]) for position in group if images.labels[position] != NO_LABEL]
        if labels and all(wanted[label] >= labels.count(label) for label in labels):
            held_out += group
            for label in labels:
                wanted[label] -= 1
    chosen = np.zeros(len(images), bool)
    chosen[held_out] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_specs(specs: str) -> list[str]:
    """Takes `a,b` apart; a comma within a path stays."""
    return re.split(rf",(?=(?:{'|'.join(SOURCES)})(?:[:,]|$))", specs)


def require_shrinkable(hyperparameters: Hyperparameters) -> None:
    """Refuses to shrink what is not: images that are no picture files, which a served model would shrink none the less.

    Raises:
        ValueError: if `shrink` is asked for and no source shrinks.
    """
    if hyperparameters.shrink and not any(spec.startswith(_SHRUNK) for spec in split_specs(hyperparameters.data)):
        raise ValueError(
            f"--shrink must be 0 where no picture files are read ({' or '.join(_SHRUNK)}). Received: {hyperparameters.shrink}"
        )


def _rank(images: Images, position: int, draw: str) -> bytes:
    """A number that no library version or machine changes."""
    key = images.names[position] if images.names and images.names[position] else str(position)
    return hashlib.blake2b(f"{draw}:{key}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _load(hyperparameters: Hyperparameters, flag: str) -> Source:
    """Loads what a flag names, as one source."""
    reading = hyperparameters.reading
    if flag != "data":  # masks are used in training only
        reading = dataclasses.replace(reading, mask_feature="")
    specs = split_specs(getattr(hyperparameters, flag))
    sources = [load_source(spec, flag=flag, reading=reading) for spec in specs]
    channels = [source.train.channels for source in sources]
    if len(set(channels)) > 1:
        received = ", ".join(f"{spec}: {count}" for spec, count in zip(specs, channels, strict=True))
        raise ValueError(f"--{flag} must be images of the same number of channels. Received: {received}")
    names = tuple(dict.fromkeys(name for source in sources for name in source.class_names))
    if flag != "data":  # to judge by: the test part of each source that has one
        parts = [source.train if source.test is None else source.test for source in sources]
        return Source(joined([_renumbered(*pair, names) for pair in zip(parts, sources, strict=True)]), None, names)
    tests = [_renumbered(source.test, source, names) for source in sources if source.test is not None]
    train = joined([_renumbered(source.train, source, names) for source in sources])
    return Source(train, joined(tests) if tests else None, names)


def _renumbered(images: Images, source: Source, names: Sequence[str]) -> Images:
    if tuple(names) == source.class_names:
        return images
    return with_labels(images, renumbered(images.labels, source.class_names, names))


def _of_classes(judged: Source, names: tuple[str, ...], flag: str) -> Images:
    """Returns images to judge by, their classes numbered as in training.

    Raises:
        ValueError: if there is a class that training knows nothing of.
    """
    images = judged.train
    if len(images) and (images.labels == NO_LABEL).all():
        raise ValueError(
            f"--{flag} must have labels, for example from ?labels=folders. Received: {len(images)} images without a label"
        )
    used = {judged.class_names[label] for label in set(images.labels.tolist()) - {NO_LABEL}}
    if used - set(names):
        raise ValueError(
            f"--{flag} must have classes of the training images. Received: {', '.join(sorted(used - set(names)))}"
        )
    table = tuple(name if name in names else names[0] for name in judged.class_names)  # of classes without an image
    return with_labels(images, renumbered(images.labels, table, names))
