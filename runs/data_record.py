"""The data that a run began with: their description in `data.json`, and what has changed since."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semppl.configs.wording import counted
from semppl.layers.labels import NO_LABEL
from semppl.runs.folder import read_record, write_record

_FILE = "data.json"
_SHOWN = 5  # classes named in a message

Description = dict[str, Any]


def describe_data(names: Sequence[str], labels: np.ndarray, class_names: Sequence[str]) -> Description:
    """Describes the training data of a run: the numbers of images and labels, the classes, and digests.

    Args:
        names: Names of the training images; empty where they have none.
        labels: `[n]` int32 visible labels; NO_LABEL where hidden.
        class_names: Names of the classes, by label.
    """
    of_names = b"".join(name.encode("utf-8", "surrogateescape") + b"\0" for name in names)
    counts = np.bincount(labels[labels != NO_LABEL], minlength=len(class_names))
    return {
        "images": len(labels),
        "labelled": int((labels != NO_LABEL).sum()),
        "names_and_labels_sha256": hashlib.sha256(np.asarray(labels, np.int32).tobytes() + of_names).hexdigest(),
        "names_sha256": hashlib.sha256(of_names).hexdigest(),
        "class_names": list(class_names),
        "labelled_by_class": counts.tolist(),
    }


def read_data(workdir: str | pathlib.Path) -> Description | None:
    """Reads the description of the data that a run began with; None where the run has none, as an imported one."""
    return read_record(workdir, _FILE)


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two descriptions of a run's data, in words; empty if nothing does.

    Args:
        then: Description that the run began with; those of older releases name no classes.
        now: Description of the data as they are.
    """
    if all(now.get(name) == value for name, value in then.items()):
        return []
    found = [
        f"{counted(now['images'], 'image')}, {now['labelled']} labelled, where there were {counted(then['images'], 'image')}, "
        f"{then['labelled']} labelled"
    ]
    if "class_names" in then:
        before = dict(zip(then["class_names"], then["labelled_by_class"], strict=True))
        after = dict(zip(now["class_names"], now["labelled_by_class"], strict=True))
        found += _listed("new class", [f"{name!r} ({after[name]})" for name in after if name not in before])
        found += _listed("class without an image", [repr(name) for name in before if name not in after])
        both = [name for name in before if name in after and before[name] != after[name]]
        found += _listed("other numbers of labels", [f"{name!r} ({before[name]} → {after[name]})" for name in both])
    if found[1:] or (now["images"], now["labelled"]) != (then["images"], then["labelled"]):
        return found
    if "names_sha256" not in then:  # of an older release
        return ["other images or labels"]
    return ["other images" if then["names_sha256"] != now["names_sha256"] else "labels of other images"]


def _listed(what: str, items: Sequence[str]) -> list[str]:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return [f"{what}: {', '.join(items[:_SHOWN])}{more}"] if items else []


def require_same_data(workdir: pathlib.Path, data: Description, *, begun: bool) -> None:
    """Writes the description of a new run's data to `data.json`, and compares that of an old one.

    Args:
        workdir: Folder of the run, opened.
        data: Description from `describe_data`.
        begun: Whether the run has a checkpoint.

    Raises:
        ValueError: If the run began with other images or labels; the message says what changed.
        NotWritten: If the disk is full.
    """
    then = read_data(workdir) if begun else None
    if then is None:
        write_record(workdir, _FILE, data)
        return
    found = changes(then, data)
    if found:
        raise ValueError(
            "--data must be the images and labels that the run began with: put them back, or start with a new --workdir "
            f"(--initial_run={workdir} takes over the encoder). Received: {'; '.join(found)}"
        )
