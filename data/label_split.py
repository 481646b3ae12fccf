"""The choice of the images whose labels training sees: a stratified draw that is the same on every machine."""

import collections
import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, Images, Source


def visible_labels(
    images: Images,
    *,
    labels_per_class: int = 0,
    label_fraction: float = 0.0,
    label_list: str = "",
    seed: int = 0,
    class_names: Sequence[str] = (),
) -> np.ndarray:
    """Hides the labels that training must not see; without any of the three choices, no label is hidden.

    Args:
        images: Training images, with their true labels.
        labels_per_class: Number of visible labels per class; 0: no such choice.
        label_fraction: Share of visible labels of every class, in (0, 1], at least one label; 0: no such choice.
        label_list: File with the position or the name of an image with a visible label per line; empty: no such choice.
        seed: Seed of the draw.
        class_names: Names of the classes, for errors; empty: classes are named by their numbers.

    Returns:
        `[n]` int32, the label, or NO_LABEL where hidden.

    Raises:
        ValueError: If a class has too few labels, or the list names an image that is not labelled or does not exist.
    """
    if not (labels_per_class or label_fraction or label_list):
        return images.labels.astype(np.int32)
    if label_list:
        keep = _listed(images, pathlib.Path(label_list))
    else:
        keep = _stratified(images.labels, labels_per_class, label_fraction, seed, class_names)
    labels = np.full(len(images), NO_LABEL, np.int32)
    labels[keep] = images.labels[keep]
    return labels


def _stratified(
    labels: np.ndarray, per_class: int, fraction: float, seed: int, class_names: Sequence[str]
) -> list[int]:
    members = collections.defaultdict(list)
    for index, label in enumerate(labels.tolist()):
        if label != NO_LABEL:
            members[label].append(index)
    smallest = min(members, key=lambda label: len(members[label]), default=NO_LABEL)
    if members and per_class > len(members[smallest]):
        name = class_names[smallest] if class_names else smallest
        raise ValueError(
            f"--labels_per_class must be at most {len(members[smallest])}, the labelled images of the smallest class, {name}. "
            f"Received: {per_class}"
        )
    keep: list[int] = []
    for _, indices in sorted(members.items()):
        count = per_class or max(1, round(fraction * len(indices)))
        keep += sorted(indices, key=lambda index: _rank(seed, index))[:count]
    return keep


def _rank(seed: int, index: int) -> bytes:
    """Returns a hash by which images are sorted for the draw, equal for all library versions and machines."""
    return hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=16).digest()


def _listed(images: Images, path: pathlib.Path) -> list[int]:
    if not path.is_file():
        raise ValueError(f"--label_list must be a file, with one position or name a line. Received: {path}")
    position = {name: index for index, name in enumerate(images.names)}
    repeated = {name for name, count in collections.Counter(images.names).items() if count > 1}
    keep = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        entry = line.strip()
        if not entry:
            continue
        if entry in repeated:
            raise ValueError(
                f"--label_list must name one image a line, by its position where names repeat. Received: {entry[:80]!r} "
                f"({path}, line {number}), of which there are several"
            )
        index = position.get(entry, int(entry) if entry.isdecimal() else -1)
        if not 0 <= index < len(images) or images.labels[index] == NO_LABEL:
            raise ValueError(
                f"--label_list must list labelled training images. Received: {entry[:80]!r} ({path}, line {number})"
            )
        keep.append(index)
    return keep


def labels_of_run(source: Source, hyperparameters: Hyperparameters) -> np.ndarray:
    """Returns the labels of the training images that a run with these hyper-parameters sees: `[n]` int32."""
    return visible_labels(
        source.train,
        labels_per_class=hyperparameters.labels_per_class,
        label_fraction=hyperparameters.label_fraction,
        label_list=hyperparameters.label_list,
        seed=hyperparameters.label_seed,
        class_names=source.class_names,
    )
