"""The plan of a comparison: a run per method, number of labels and seed, and the checks before the first of them."""

import dataclasses
import difflib
import json
import pathlib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import adding_origin
from semppl.configs.wording import counted
from semppl.experiments.untrained import UNTRAINED
from semppl.runs.data_record import changes, read_data
from semppl.runs.files import make_writable_folder, write_atomically
from semppl.trainers.methods import METHODS as TRAINED


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to get a representation.

    Attributes:
        title: Name in tables and on pages.
        settings: Differences from the settings that all methods share.
    """

    title: str
    settings: Mapping[str, Any]


_ALL = {"train": "all"}
_HEADS = {"train": "heads", "small_views": 0, "frozen_stages": 0}
_LABELS_ALONE = {"method": "supervised", "labelled_batch_size": 0}
_NO_POSITIVES = {"semantic_weight": 0.0, "semantic_positives": 0, "same_class_negatives": True}  # labels change nothing


def _trained(name: str) -> Method:
    """Returns a method of `semppl.trainers.methods`, whose class has the title: BarlowTwins for barlow_twins."""
    title = TRAINED[name].rpartition(":")[2]
    return Method(re.sub("(?<=[a-z])(?=[A-Z])", " ", title) if "_" in name else title, _ALL | {"method": name})


FROZEN = "frozen"
METHODS: Mapping[str, Method] = types.MappingProxyType(
    {
        FROZEN: Method("encoder without training", UNTRAINED),
        "supervised": Method("same encoder, trained on the labels alone", _ALL | _LABELS_ALONE),
        "no_semantic_positives": Method(
            "same loop without semantic positives (α = 0, R = 0)", _ALL | _NO_POSITIVES | {"method": "semppl"}
        ),
        **{name: _trained(name) for name in sorted(set(TRAINED) - {"supervised", "semppl"})},
        "semppl": _trained("semppl"),
        "semppl_heads": Method("SemPPL's heads on the frozen encoder", _HEADS | {"method": "semppl"}),
    }
)
"""Methods by name, all of `semppl.trainers.methods` among them; encoder, views, optimiser and steps are the shared ones."""

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
        changes: Settings that the method has in place of the shared ones.
        data: Description of the training images and labels, once they are loaded; see `describe_data`.
    """

    method: str
    labels_per_class: int
    seed: int
    folder: pathlib.Path
    settings: Hyperparameters
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

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


def steps_by_name(texts: Sequence[str], *, flag: str, kind: str, example: str) -> dict[str, int]:
    """Reads NAME:STEPS; `flag`, `kind` and `example` are for the message.

    Raises:
        ValueError: If a text has another form, or a name comes twice.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition(":")
        if not number.isdecimal() or int(number) < 1 or name in found:
            allowed = f"comma-separated {kind}:STEPS, each {kind.lower()} once, such as {example}"
            raise ValueError(f"--{flag} must be {allowed}. Received: {','.join(texts)}")
        found[name] = int(number)
    return found


def plan(
    shared: Hyperparameters,
    workdir: pathlib.Path,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    budgets: Sequence[int] = (0,),
    own: Mapping[str, Any] = types.MappingProxyType({}),
    steps: Mapping[str, int] = types.MappingProxyType({}),
) -> list[Training]:
    """Lists the runs of a comparison, seed by seed.

    Args:
        shared: Settings that all runs share.
        workdir: Folder of all runs.
        methods: Keys of METHODS, in the order in which runs start.
        seeds: Seeds of the label draws and of the trainings: runs of the same seed see the same labels.
        budgets: Numbers of labelled images per class; 0: as `shared` chooses them.
        own: Settings of single methods, by name; each applies to the runs of its method.
        steps: Length of the runs of single methods, in steps, in place of the shared length.

    Raises:
        ValueError: If the settings do not suit a method, or belong to none of `methods`.
    """
    _require_owners(own, methods)
    _require_trained(steps, methods)
    trainings = []
    for seed in seeds:
        for budget in budgets:
            for method in methods:
                changes = dict(METHODS[method].settings)
                changes |= {name: own[name] for name in _own_names(method) if name in own}
                changes |= {"steps": steps[method]} if method in steps else {}
                labels = budget or shared.labels_per_class
                with adding_origin(f"in the runs of --methods={method}"):
                    settings = dataclasses.replace(
                        shared, **changes, seed=seed, label_seed=seed, labels_per_class=labels
                    )
                folder = workdir / "-".join([method, *([str(budget)] if budget else []), str(seed)])
                trainings.append(Training(method, budget, seed, folder, settings, changes))
    return trainings


def _require_owners(own: Mapping[str, Any], methods: Sequence[str]) -> None:
    for name, value in own.items():
        owners = [method for method in METHODS if name in _own_names(method)]
        if not set(owners) & set(methods):
            raise ValueError(f"--{name} must come with {owners[0]} among --methods. Received: {value}")


def _require_trained(steps: Mapping[str, int], methods: Sequence[str]) -> None:
    for method, number in steps.items():
        trained = [name for name in methods if METHODS[name].settings["train"] != "nothing"]
        if method not in trained:
            raise ValueError(
                f"--method_steps must name methods that are trained, of {', '.join(trained)}. Received: {method}"
            )
        if number < 1:
            raise ValueError(f"--method_steps must be 1 or more. Received: {method}:{number}")


def _own_names(method: str) -> list[str]:
    """Returns the names of the settings that belong to the method that a row trains; none where nothing is trained."""
    settings = METHODS[method].settings
    return [] if settings["train"] == "nothing" else Hyperparameters.own_names(settings["method"])


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
    """Compares the settings and the training data of the runs with those of the runs that have begun.

    Args:
        trainings: Runs with settings that are resolved for the data.

    Raises:
        ValueError: If a setting differs, naming the run and the flags, or images or labels.
    """
    for training in trainings:
        then = read_data(training.folder)
        found = changes(then, training.data) if then else []
        if found:
            raise ValueError(
                "--data must be the images and labels that the runs began with: put them back, or compare with a new --workdir. "
                f"Received: other data than those of {training.folder}: {'; '.join(found)}"
            )
        if not (training.folder / "hyperparameters.json").is_file():
            continue
        differences = Hyperparameters.load(training.folder).differences(training.settings)
        if differences:
            own_steps = f"method_steps={training.method}:" if "steps" in training.changes else "steps="
            listed = "; ".join(
                f"--{own_steps if name == 'steps' else f'{name}='}{now} (there: {then})"
                for name, (then, now) in sorted(differences.items())
            )
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
