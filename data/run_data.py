"""The data of a run that has begun, with its classes numbered as when it began."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from semppl.configs.data import held_out_share
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.combination import renumbered, with_labels
from semppl.data.images import Images, Source
from semppl.data.splits import RunData, load_data, load_held_out
from semppl.runs.data_record import changes, describe_data, read_data


def load_run_data(
    workdir: str | pathlib.Path, hyperparameters: Hyperparameters, moved: Mapping[str, Any] | None = None
) -> RunData:
    """Loads the data of a run as `load_data` does, and reports on stderr what has changed since the run began.

    Classes are matched by name: those that the run began with keep their labels, new ones follow. Runs of releases that did not
    record the names have the classes in the order of the data, of which a warning says so.

    Args:
        workdir: Folder of the run.
        hyperparameters: Settings of the run.
        moved: Settings, by name, of data that now lie elsewhere or are read differently.

    Raises:
        ValueError: If the data cannot be loaded; the message names the file with the settings.
    """
    moved = dict(moved or {})
    try:
        data = load_data(dataclasses.replace(hyperparameters, **moved))
    except ValueError as error:
        origin = f"as {workdir}/hyperparameters.json has it; if the pictures have moved, name their place with --data"
        raise ValueError(str(error) if moved else f"{error} ({origin})") from error
    then = read_data(workdir)
    if then is None:  # an imported run has learnt no classes
        return data
    if "class_names" not in then:
        _say(
            f"warning: {workdir} does not record the names of its classes: classes are matched by their position, so that "
            "evaluation and export are wrong if classes came, went or were renamed since the run began"
        )
    data = _numbered(data, tuple(dict.fromkeys([*then.get("class_names", ()), *data.source.class_names])))
    now = describe_data(data.source.train.names, data.labels, data.source.class_names)
    found = changes(then, now)
    if found:
        _say(f"the data of {workdir} have changed since the run began: {'; '.join(found)}")
    return data


def load_evaluated_data(
    workdir: str | pathlib.Path, hyperparameters: Hyperparameters, moved: Mapping[str, Any]
) -> RunData:
    """Loads the data of a run as `load_run_data` does; a test set that is named now leaves the training set as it was."""
    was_source = bool(hyperparameters.test) and held_out_share(hyperparameters.test) is None
    if "test" not in moved or (was_source and held_out_share(moved["test"]) is None):
        return load_run_data(workdir, hyperparameters, moved)
    rest = {name: value for name, value in moved.items() if name != "test"}
    data = load_run_data(workdir, hyperparameters, rest)
    settings = dataclasses.replace(hyperparameters, **rest)
    test = load_held_out(settings, moved["test"], data.source.class_names)
    return dataclasses.replace(data, source=dataclasses.replace(data.source, test=test))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _numbered(data: RunData, names: tuple[str, ...]) -> RunData:
    """Numbers the classes in the order of `names`, which contain all."""
    source, before = data.source, data.source.class_names
    if names == before:
        return data

    def images(part: Images) -> Images:
        return with_labels(part, renumbered(part.labels, before, names))

    held_out = {name: getattr(source, name) for name in ("test", "validation")}
    parts = {name: None if part is None else images(part) for name, part in held_out.items()}
    return RunData(Source(images(source.train), class_names=names, **parts), renumbered(data.labels, before, names))
