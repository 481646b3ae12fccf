"""The training, validation and test images of a run: from one source or several, or held out from the training images."""

import dataclasses
import hashlib
import re
from collections.abc import Sequence

import numpy as np

from semppl.configs.data import held_out_share
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.combination import joined, renumbered, with_labels
from semppl.data.images import NO_LABEL, Images, Source
from semppl.data.label_split import labels_of_run
from semppl.data.sources import SOURCES, load_source, names_files

_SHRUNK = ("folder:", "tfrecord:")


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        source: Images of the splits with all labels, hidden ones too, and the names of the classes.
        labels: `[n]` int32, the labels of the training images that the run sees; NO_LABEL where hidden.
    """

    source: Source
    labels: np.ndarray


def load_data(hyperparameters: Hyperparameters) -> RunData:
    """Loads the images of a run, and hides the labels that it must not see.

    Raises:
        ValueError: If a source or a label is missing; the message names the flag.
    """
    source = load_splits(hyperparameters)
    return RunData(source, labels_of_run(source, hyperparameters))


def load_held_out(hyperparameters: Hyperparameters, spec: str, class_names: tuple[str, ...]) -> Images:
    """Loads images to judge by that need not be those of a run.

    Args:
        hyperparameters: Settings with which the images are read.
        spec: Source, in the form of --test.
        class_names: Names of the classes, in the order of the labels of the result.

    Raises:
        ValueError: If the source is a share, cannot be read, or has no class or an unknown one.
    """
    if held_out_share(spec) is not None:
        raise ValueError(f"--test must be a source of images that were not trained on. Received: {spec}")
    return _of_classes(_load(dataclasses.replace(hyperparameters, test=spec), "test"), class_names, "test")


def load_splits(hyperparameters: Hyperparameters) -> Source:
    """Loads the images of a run with all labels, hidden ones too.

    Classes with the same name in several sources are one class. Held-out images, and images of the same group, are not in the
    training set.

    Raises:
        ValueError: If a source or a label is missing; the message names the flag.
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
    """Draws a stratified set of held-out images; images of the same group stay together.

    The draw depends on the images' names, if they have any, so that adding pictures does not change the draw of the others.

    Args:
        images: Training images, at least one with a label.
        share: Share of each class's labelled images that is held out, in (0, 1); at least one image, and never all.
        seed: Seed of the draw.
        flag: Name of the flag that sets the share, on which the draw depends: test and validation are drawn independently.

    Returns:
        Sorted positions of the remaining images, and of the held-out images.

    Raises:
        ValueError: If no image has a label.
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


def require_two_classes(class_names: Sequence[str]) -> None:
    """Refuses training images of one class: nothing could be told apart.

    Raises:
        ValueError: If there is exactly one class.
    """
    if len(class_names) == 1:
        raise ValueError(f"--data must have labels of two or more classes. Received: only {class_names[0]!r}")


def split_specs(specs: str) -> list[str]:
    """Splits a list of sources, `a,b`, at the commas that precede the key of a source and are not part of an existing path.

    Raises:
        ValueError: If a comma may be either.
    """
    parts = re.split(rf",(?=(?:{'|'.join(SOURCES)})(?:[:,]|$))", specs)
    found = []
    while parts:
        whole = next((end for end in range(len(parts), 1, -1) if names_files(",".join(parts[:end]))), 1)
        if whole > 1 and all(names_files(part) or not part.startswith(_SHRUNK) for part in parts[:whole]):
            several = " and ".join(map(repr, parts[:whole]))
            raise ValueError(
                f"Sources must be told from each other: {','.join(parts[:whole])!r} exists, and so do {several}. Received: {specs}"
            )
        found.append(",".join(parts[:whole]))
        parts = parts[whole:]
    return found


def require_shrinkable(hyperparameters: Hyperparameters) -> None:
    """Refuses `shrink` for sources other than picture files: training would not downscale, but a served model would.

    Raises:
        ValueError: If `shrink` is set and no source consists of picture files.
    """
    if hyperparameters.shrink and not any(spec.startswith(_SHRUNK) for spec in split_specs(hyperparameters.data)):
        raise ValueError(
            f"--shrink must be 0 where no picture files are read ({' or '.join(_SHRUNK)}). Received: {hyperparameters.shrink}"
        )


def _rank(images: Images, position: int, draw: str) -> bytes:
    """Returns a hash by which images are sorted for the draw, equal for all library versions and machines."""
    key = images.names[position] if images.names and images.names[position] else str(position)
    return hashlib.blake2b(f"{draw}:{key}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _load(hyperparameters: Hyperparameters, flag: str) -> Source:
    """Loads the sources that a flag names, and combines them into one."""
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
    """Returns held-out images with their classes numbered as in training.

    Raises:
        ValueError: If no image has a label, an image's class does not occur in training, or training has one class only.
    """
    images = judged.train
    if len(images) and (images.labels == NO_LABEL).all():
        raise ValueError(
            f"--{flag} must have labels, for example from ?labels=folders. "
            f"Received: {counted(len(images), 'image')} without a label"
        )
    used = {judged.class_names[label] for label in set(images.labels.tolist()) - {NO_LABEL}}
    if used - set(names):
        require_two_classes(names)
        raise ValueError(
            f"--{flag} must have classes of the training images. Received: {', '.join(sorted(used - set(names)))}"
        )
    table = tuple(name if name in names else names[0] for name in judged.class_names)  # of classes without an image
    return with_labels(images, renumbered(images.labels, table, names))
