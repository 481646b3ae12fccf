"""The plan of a comparison: a run per method, number of labels and seed, and the checks before the first of them."""

import dataclasses
import difflib
import json
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.experiments.untrained import UNTRAINED
from semppl.runs.files import make_writable_folder, write_atomically


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to get a representation.

    Attributes:
        title: Name in tables and on pages.
        settings: Differences from the settings that all methods share.
        representation: Representation that is compared: a row of `semppl.evaluation.evaluate`.
    """

    title: str
    settings: Mapping[str, Any]
    representation: str = "projections"


_ALL = {"train": "all"}
_HEADS = {"train": "heads", "small_views": 0, "frozen_stages": 0}
_LABELS_ALONE = {"method": "supervised", "labelled_batch_size": 0}
_NO_LABELS = {"labelled_batch_size": 0}  # batches have the share of labelled images that the data have
_NO_POSITIVES = {"semantic_weight": 0.0, "semantic_positives": 0}

FROZEN = "frozen"
METHODS: Mapping[str, Method] = types.MappingProxyType(
    {
        FROZEN: Method("encoder without training", UNTRAINED, "features"),
        "supervised": Method("same encoder, trained on the labels alone", _ALL | _LABELS_ALONE, "classifier"),
        "no_semantic_positives": Method(
            "same loop without semantic positives (α = 0, R = 0)", _ALL | _NO_POSITIVES | {"method": "semppl"}
        ),
        "barlow_twins": Method("Barlow Twins", _ALL | _NO_LABELS | {"method": "barlow_twins"}),
        "byol": Method("BYOL", _ALL | _NO_LABELS | {"method": "byol"}),
        "moco": Method("MoCo", _ALL | _NO_LABELS | {"method": "moco"}),
        "nnclr": Method("NNCLR", _ALL | _NO_LABELS | {"method": "nnclr"}),
        "relic": Method("ReLIC", _ALL | _NO_LABELS | {"method": "relic"}),
        "relicv2": Method("ReLICv2", _ALL | _NO_LABELS | {"method": "relicv2"}),
        "simclr": Method("SimCLR", _ALL | _NO_LABELS | {"method": "simclr"}),
        "supcon": Method("SupCon", _ALL | {"method": "supcon"}),
        "swav": Method("SwAV", _ALL | _NO_LABELS | {"method": "swav"}),
        "semppl": Method("SemPPL", _ALL | {"method": "semppl"}),
        "semppl_heads": Method("SemPPL's heads on the frozen encoder", _HEADS | {"method": "semppl"}),
    }
)
"""Methods by name; encoder, views, optimiser and steps are those of the shared settings."""

RAW_PIXELS = "raw_pixels"
"""Row that needs no encoder."""

_FILE = "comparison.json"
_PER_RUN = ("seed", "label_seed", "labels_per_class", "method")


@dataclasses.dataclass(frozen=True)
class Training:
    """One run of a comparison.

    Attributes:
        method: Key of METHODS.
        labels_per_class: Number of labelled images per class; 0: as the shared settings choose them.
        seed: Seed of the label draw and of the training.
        folder: Folder of the run.
        settings: Settings of the run.
    """

    method: str
    labels_per_class: int
    seed: int
    folder: pathlib.Path
    settings: Hyperparameters

    @property
    def title(self) -> str:
        """Name of the training in progress lines."""
        labels = f", {labels_in_words(self.labels_per_class)}" if self.labels_per_class else ""
        return f"{METHODS[self.method].title}{labels}, seed {self.seed}"

    @property
    def log(self) -> pathlib.Path:
        """Path of the file for the training's output."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def finished(self) -> bool:
        """Whether the run has taken its last step."""
        return (self.folder / "done.json").is_file()


def labels_in_words(labels_per_class: int) -> str:
    """Returns a number of labels per class in words; 0: the labels that the data give."""
    return f"{counted(labels_per_class, 'label')} per class" if labels_per_class else "all labels given"


def check_methods(names: Sequence[str]) -> list[str]:
    """Returns the names of methods, each once and the frozen encoder first.

    Raises:
        ValueError: If a name is unknown.
    """
    for name in names:
        if name not in METHODS:
            near = difflib.get_close_matches(name, METHODS, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"--methods must be of {', '.join(METHODS)}. Received: {name or 'none'}{meant}")
    return list(dict.fromkeys([FROZEN, *names]))


def plan(
    shared: Hyperparameters,
    workdir: pathlib.Path,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    budgets: Sequence[int] = (0,),
) -> list[Training]:
    """Lists the runs of a comparison, seed by seed.

    Args:
        shared: Settings that all runs share.
        workdir: Folder of all runs.
        methods: Keys of METHODS, in the order in which runs start.
        seeds: Seeds of the label draws and of the trainings: runs of the same seed see the same labels.
        budgets: Numbers of labelled images per class; 0: as `shared` chooses them.

    Raises:
        ValueError: If the settings do not suit a method.
    """
    trainings = []
    for seed in seeds:
        for budget in budgets:
            for method in methods:
                changes = dict(METHODS[method].settings) | {"seed": seed, "label_seed": seed}
                changes |= {"labels_per_class": budget} if budget else {}
                try:
                    settings = dataclasses.replace(shared, **changes)
                except ValueError as error:
                    raise ValueError(f"{error} (in the runs of --methods={method})") from error
                folder = workdir / "-".join([method, *([str(budget)] if budget else []), str(seed)])
                trainings.append(Training(method, budget, seed, folder, settings))
    return trainings


def require_same_settings(workdir: pathlib.Path, shared: Hyperparameters) -> None:
    """Writes the shared settings of a new comparison, or compares them with those that are there.

    Methods, numbers of labels and seeds may change from one call to the next.

    Raises:
        ValueError: If a setting differs, naming the flag, or the folder cannot be written.
    """
    make_writable_folder(workdir, "workdir")
    here = {name: value for name, value in shared.identity().items() if name not in _PER_RUN}
    here = json.loads(json.dumps(here))  # tuples as the lists that they become in the file
    path = workdir / _FILE
    if not path.is_file():
        write_atomically(path, json.dumps(here, indent=2) + "\n")
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    differing = sorted(name for name in {**here, **there} if here.get(name) != there.get(name))
    if differing:
        listed = "; ".join(f"--{name}={here.get(name)} (there: {there.get(name)})" for name in differing)
        raise ValueError(
            f"--workdir must hold a comparison with the same settings, or none. Received: {workdir}, which differs in {listed}"
        )


def require_same_runs(trainings: Sequence[Training]) -> None:
    """Compares the settings of the runs with those of the runs that have begun.

    Args:
        trainings: Runs with settings that are resolved for the data.

    Raises:
        ValueError: If a setting differs, naming the run and the flags.
    """
    for training in trainings:
        if not (training.folder / "hyperparameters.json").is_file():
            continue
        differences = Hyperparameters.load(training.folder).differences(training.settings)
        if differences:
            listed = "; ".join(f"--{name}={now} (there: {then})" for name, (then, now) in sorted(differences.items()))
            raise ValueError(
                f"--workdir must hold runs with the same settings, or none. Received: {training.folder}, which differs in {listed}"
            )


def remaining_seconds(elapsed: float, ended: Mapping[str, Sequence[float]], left: Sequence[str]) -> float:
    """Estimates the remaining time: the time so far, times the work that is left over the work that is done.

    The work of a run is the mean duration of its method's runs that ended; of a method without one, that of the slowest.
    Unlike durations alone, the time so far contains evaluations, and runs side by side.

    Args:
        elapsed: Seconds since the first run started.
        ended: Durations of the runs that ended since, by method, in seconds, at least one.
        left: Method of each run that is left.
    """
    means = {method: sum(seconds) / len(seconds) for method, seconds in ended.items()}
    done = sum(map(sum, ended.values()))
    return elapsed * sum(means.get(method, max(means.values())) for method in left) / done
