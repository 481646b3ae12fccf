r"""Examines the data of a run before training, and writes the report as `doctor.json` and `doctor.html`.

python -m semppl.doctor.examine --preset=own_pictures_cpu \
  --data='folder:PICTURES?labels=labels.csv' --workdir=outputs/own
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import json
import pathlib
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.data import held_out_share
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.similar_names import similar_pairs
from semppl.configs.wording import counted
from semppl.programs import hyperparameter_flags, menu, quiet, run_flags
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags
from semppl.programs.presets import preset_names

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)

_TRIAL_STEPS = flags.DEFINE_integer(
    "trial_steps", 20, "Number of training steps to measure time and memory with; 0: no measurement.", lower_bound=0
)

quiet.parse_flags(__name__, check=hyperparameters_from_flags)

import tensorflow as tf

from semppl.data.duplicates import Prints, exact_duplicates, near_duplicates
from semppl.data.files.decoding import decoding_of
from semppl.data.files.folder import list_folder
from semppl.data.files.inspection import count_lost, findings_unsaid, inspect_pictures, summary
from semppl.data.images import NO_LABEL, Images, Source
from semppl.data.splits import RunData, load_data, require_two_classes, split_specs
from semppl.data.views.recipes import check_recipe
from semppl.doctor.advice import PRESETS, Pictures, Suggestions, in_words, suggest, verdict
from semppl.doctor.page import page
from semppl.doctor.trial import Features, ManyFeatures, Trial, TrialFailed, train_briefly
from semppl.runs.files import make_writable_folder

Report = dict[str, Any]
_FEW_LABELS = 3
_RARE = 0.1  # smallest class as a share of the largest, below which classes are called uneven
_PAIRS = 200  # listed; all are counted
_MOST_CACHED = 20_000  # views whose features a trial computes


def examine(hyperparameters: Hyperparameters, *, trial_steps: int = 0) -> tuple[Report, RunData | None]:
    """Examines the data that a run with these hyper-parameters would read.

    Args:
        hyperparameters: Hyper-parameters of the run.
        trial_steps: Number of training steps to measure time and memory with; 0: no measurement.

    Returns:
        The report, which can be written as JSON, and the data, or None if they cannot be loaded. The report's `problems` lists
        what would stop the run, and warnings; `suggestions` has a value and a reason for each name of a setting; `verdict` is a
        sentence that says whether the run can start, and how long it takes.

    Raises:
        ValueError: If there is no such recipe.
    """
    report, data = _examined(hyperparameters, trial_steps)
    return report | {"verdict": verdict(report)}, data


def _examined(hyperparameters: Hyperparameters, trial_steps: int) -> tuple[Report, RunData | None]:
    check_recipe(hyperparameters.recipe)
    report: Report = {"data": hyperparameters.data, "problems": [], "folders": _folders(hyperparameters)}
    for folder in report["folders"]:
        for line in folder["findings"]:
            _warn(report, f"{folder['path']}: {line}", "folders")
        bad, limit = folder["lost_fraction"], hyperparameters.max_bad_fraction
        if bad > limit:
            _stop(
                report,
                f"{folder['path']}: {bad:.1%} of the pictures cannot be used; --max_bad_fraction={limit} stops the run",
                "folders",
            )
    try:
        with findings_unsaid():  # they are in the report
            data = load_data(dataclasses.replace(hyperparameters, max_bad_fraction=1.0))
    except (ValueError, OSError) as error:
        _stop(report, str(error))
        return report, None
    source, visible = data.source, data.labels
    parts = _parts(data)
    report["parts"] = {name: len(part) for name, part in parts.items()}
    report["classes"] = _classes(source, visible)
    _judge_classes(report, hyperparameters)
    report["duplicates"] = _duplicates(report, parts)
    report["suggestions"] = _suggestions(report, source, hyperparameters)
    settings = _resolved(report, hyperparameters, len(source.train))
    if settings is not None and trial_steps:
        _measure(report, settings, trial_steps, len(source.train))
    return report, data


def _resolved(report: Report, hyperparameters: Hyperparameters, num_images: int) -> Hyperparameters | None:
    """Returns the settings with all defaults filled in; None, and a finding, if they do not suit the data."""
    labelled = report["parts"].get("labelled", 0)
    if (hyperparameters.needs_labels and not labelled) or len(report["classes"]) == 1:  # there is a finding already
        return None
    try:
        return hyperparameters.resolved(num_images=num_images, num_labelled=labelled, replicas=1)
    except ValueError as error:
        _stop(report, str(error))
        return None


def examine_into(
    folder: pathlib.Path, hyperparameters: Hyperparameters, *, trial_steps: int = 0, arguments: Sequence[str] = ()
) -> tuple[Report, RunData | None]:
    """Examines the data of a run, and writes `doctor.json` and `doctor.html` into a folder; see `examine`.

    If the doctor's command line had `arguments`, and the run can start, the report has the `command` that starts it.
    """
    make_writable_folder(folder, "workdir")
    report, data = examine(hyperparameters, trial_steps=trial_steps)
    if arguments and data and report["verdict"].startswith("ready"):
        report["command"] = _command(arguments, report["suggestions"])
    (folder / "doctor.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    parts, class_names = (_parts(data), data.source.class_names) if data else ({}, ())
    (folder / "doctor.html").write_text(page(report, parts, class_names), encoding="utf-8")
    return report, data


def _command(arguments: Sequence[str], suggestions: Suggestions) -> str:
    """Returns the command that starts the run with the suggestions, from the arguments of the doctor."""
    if "preset" in suggestions:  # the one in use may stand in a file of flags
        own = [word for word in arguments if not _names_preset(word)]
        arguments = flags.FLAGS.read_flags_from_files(own, force_gnu=False)
    words, kept = iter(arguments), []
    for word in words:
        name, equals, _ = word.lstrip("-").partition("=")
        if not equals and name in flags.FLAGS and not flags.FLAGS[name].boolean:  # the value is the next word
            word = f"--{name}={next(words, '')}"
        if name not in (*suggestions, "trial_steps"):
            kept.append(word)
    added = [f"--{name}={suggestion['value']}" for name, suggestion in suggestions.items()]
    first = [flag for flag in added if flag.startswith("--preset=")]  # so that later flags override it
    return menu.command("pretrain", *first, *kept, *(flag for flag in added if flag not in first))


def _names_preset(word: str) -> bool:
    """Returns whether an argument is the file of a preset for pictures of one's own."""
    flag, _, file = word.partition("=")
    name = pathlib.Path(file).stem
    return flag == "--flagfile" and name.startswith(PRESETS) and name in preset_names()


def _stop(report: Report, text: str, at: str = "") -> None:
    report["problems"].append({"stops": True, "text": text, "at": at})


def _warn(report: Report, text: str, at: str = "") -> None:
    """Adds a finding; `at` is the section of the page that shows it."""
    report["problems"].append({"stops": False, "text": text, "at": at})


def _folders(hyperparameters: Hyperparameters) -> list[Report]:
    """Inspects the files of every `folder:` source."""
    found = []
    for flag in ("data", "validation", "test"):
        spec = getattr(hyperparameters, flag)
        for part in split_specs(spec) if spec and held_out_share(spec) is None else ():
            key, _, argument = part.partition(":")
            if key != "folder":
                continue
            try:
                folder = list_folder(argument, flag=flag)
            except ValueError:  # load_data reports the same error
                continue
            inspection = inspect_pictures(
                folder, decoding_of(hyperparameters.reading), cache_dir=hyperparameters.cache_dir
            )
            shorter = inspection.sizes[inspection.usable].min(1)
            bad = np.flatnonzero(~inspection.usable)
            found.append(
                {
                    "flag": flag,
                    "path": str(folder.root),
                    "pictures": len(folder.paths),
                    "bad": len(bad),
                    "lost_fraction": np.divide(*count_lost(folder, inspection)).item(),
                    "bad_files": {_plain(folder.paths[i]): str(inspection.reasons[i]) for i in bad[:_PAIRS]},
                    "rows_without_file": [_plain(path) for path in folder.rows_without_file[:_PAIRS]],
                    "files_without_row": folder.files_without_row,
                    "other_files": folder.others,
                    "decoded_by_tensorflow": int((inspection.usable & inspection.plain).sum()),
                    "shorter_side": dict(zip(("smallest", "median", "largest"), _quantiles(shorter), strict=True)),
                    "findings": summary(folder, inspection),
                }
            )
    return found


def _quantiles(values: np.ndarray) -> list[int]:
    return [int(value) for value in np.quantile(values, [0, 0.5, 1])] if len(values) else [0, 0, 0]


def _parts(data: RunData) -> dict[str, Images]:
    """Splits the images into labelled, unlabelled, validation and test images, as far as there are any."""
    parts: dict[str, Images] = {}
    source = data.source
    for name, chosen in (("labelled", data.labels != NO_LABEL), ("unlabelled", data.labels == NO_LABEL)):
        if chosen.any():
            parts[name] = source.train.select(np.flatnonzero(chosen))
    for name in ("validation", "test"):
        images = getattr(source, name)
        if images is not None:
            parts[name] = images
    return parts


def _classes(source: Source, visible: np.ndarray) -> dict[str, dict[str, int]]:
    """Counts, per class, the visible training labels, validation labels and test labels."""
    labels = {"labelled": visible}
    for name in ("validation", "test"):
        images = getattr(source, name)
        if images is not None:
            labels[name] = images.labels
    counts = {name: Counter(values.tolist()) for name, values in labels.items()}
    return {
        class_name: {name: count[label] for name, count in counts.items()}
        for label, class_name in enumerate(source.class_names)
    }


def _judge_classes(report: Report, hyperparameters: Hyperparameters) -> None:
    labelled = {name: counts["labelled"] for name, counts in report["classes"].items()}
    if not any(labelled.values()):
        if hyperparameters.needs_labels:
            _stop(report, "no training image has a label")
        return
    try:
        require_two_classes(list(labelled))
    except ValueError as error:
        _stop(report, str(error), "labels")
    for name, other in similar_pairs(list(labelled)):
        _warn(report, f"{name!r} and {other!r} are nearly the same name; one class, or two?", "labels")
    rare = [name for name, count in labelled.items() if count < _FEW_LABELS]
    if rare:
        _warn(report, f"fewer than {counted(_FEW_LABELS, 'label')}: {', '.join(rare[:10])}", "labels")
    if min(labelled.values()) < _RARE * max(labelled.values()):
        _warn(
            report,
            f"classes are uneven: from {min(labelled.values())} to {counted(max(labelled.values()), 'label')}",
            "labels",
        )
    for split in ("validation", "test"):
        missing = [name for name, counts in report["classes"].items() if counts.get(split) == 0]
        if missing:
            _warn(report, f"no {split} image of: {', '.join(missing[:10])}", "labels")


def _duplicates(report: Report, parts: dict[str, Images]) -> Report:
    """Finds exact and near duplicates, within and across parts."""
    _say(f"comparing {counted(sum(map(len, parts.values())), 'image')} with each other")
    prints = Prints.joined([Prints.of(images) for images in parts.values()])
    where = [(name, position) for name, images in parts.items() for position in range(len(images))]
    found: Report = {}
    exact, near = (
        [(group[0], other) for group in groups for other in group[1:]]
        for groups in (exact_duplicates(prints), near_duplicates(prints))
    )
    for kind, pairs in (("exact", exact), ("near", near)):
        across = Counter(" – ".join((where[a][0], where[b][0])) for a, b in pairs)
        listed = sorted(pairs, key=lambda pair: where[pair[0]][0] == where[pair[1]][0])[:_PAIRS]  # across parts first
        found[kind] = {
            "pairs": len(pairs),
            "by_parts": dict(across.most_common()),
            "listed": [[_named(parts, where[position]) for position in pair] for pair in listed],
        }
        leaks = sum(_leaks(where[a][0], where[b][0]) for a, b in pairs)
        if leaks:
            _warn(
                report,
                f"{counted(leaks, f'{kind} duplicate')} between training and held-out images: scores will be too high",
                "duplicates",
            )
        if len(pairs) > leaks:
            _warn(
                report,
                f"{counted(len(pairs) - leaks, f'{kind} duplicate')} within training or within a test set",
                "duplicates",
            )
    odds = [(a, b) for a, b in exact if len({_label(parts, where[a]), _label(parts, where[b])} - {NO_LABEL}) > 1]
    if odds:
        _warn(report, f"different labels of equal images: {counted(len(odds), 'pair')}", "duplicates")
    return found


def _leaks(first: str, second: str) -> bool:
    return first != second and {first, second} != {"labelled", "unlabelled"}


def _label(parts: dict[str, Images], where: tuple[str, int]) -> int:
    return int(parts[where[0]].labels[where[1]])


def _named(parts: dict[str, Images], where: tuple[str, int]) -> list[str | int]:
    """Returns part, position and name of an image."""
    part, position = where
    names = parts[part].names
    return [part, position, _plain(names[position]) if names else str(position)]


def _suggestions(report: Report, source: Source, hyperparameters: Hyperparameters) -> Suggestions:
    """Suggests settings for the pictures, the labels and the machine."""
    sides = [folder["shorter_side"]["median"] for folder in report["folders"] if folder["flag"] == "data"]
    pictures = Pictures(
        images=len(source.train),
        labelled=report["parts"].get("labelled", 0),
        channels=source.train.channels,
        shorter_side=min(sides, default=0),
        accelerated=bool(tf.config.list_physical_devices("GPU")),
    )
    return suggest(pictures, hyperparameters)


def _measure(report: Report, settings: Hyperparameters, steps: int, num_images: int) -> None:
    """Measures time and memory of a few training steps, and extrapolates to the run."""
    heads = settings.train == "heads"
    before = ", after the features that are not cached yet" if heads else ""
    _say(f"training {counted(steps, 'step')} to see how long an epoch takes{before}")
    try:
        trial, features = _tried(settings, steps, num_images)
    except TrialFailed as error:
        _stop(report, f"a run of {counted(steps, 'step')} ends with: {error}")
        return
    seconds = features.left * features.seconds_per_picture if features else 0.0
    if trial is None:
        _say(f"no trial: features of {counted(num_images, 'picture')} come before a step, about {in_words(seconds)}")
        return
    measured = {name: value for name, value in dataclasses.asdict(trial).items() if name != "features"}
    report["trial"] = measured | {"seconds_per_epoch": round(num_images / trial.images_per_second, 1)}
    report["time"] = {
        "steps": settings.steps,
        "seconds": round(settings.steps * settings.batch_size / trial.images_per_second, 1),
        "seconds_before_first_step": round(trial.seconds_before_first_report + seconds, 1),
    }
    if heads:
        report["time"]["features_left"] = features.left if features else 0
        report["time"]["seconds_of_features"] = round(seconds, 1)


def _tried(settings: Hyperparameters, steps: int, num_images: int) -> tuple[Trial | None, Features | None]:
    """Tries a run, of the fewest views if the features of many are not cached: their number has no effect on a step's time.

    Returns:
        The trial, None if it would have to compute features for long all the same; and the features that are left to the run.
    """
    try:
        trial = train_briefly(settings, steps, most=_MOST_CACHED // settings.cached_views)
    except ManyFeatures as many:
        if num_images * settings.large_views > 2 * _MOST_CACHED:
            return None, many.features
        fewer = dataclasses.replace(settings, cached_views=settings.large_views)
        return train_briefly(fewer, steps, most=num_images), many.features
    return trial, None if settings.cache_dir else trial.features  # the run finds what the trial has cached


def _plain(name: str) -> str:
    """Escapes the bytes of a file name that are not Unicode."""
    return name.encode("utf-8", "backslashreplace").decode()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags.

    Returns:
        The exit code: 0 if a run can start, 1 if a problem would stop it, 2 for wrong flags.
    """
    del argv
    folder, settings = pathlib.Path(run_flags.WORKDIR.value), hyperparameters_from_flags()
    report, data = examine_into(folder, settings, trial_steps=_TRIAL_STEPS.value, arguments=sys.argv[1:])
    for problem in report["problems"]:
        print(f"{'stops the run' if problem['stops'] else 'look at'}: {problem['text']}")
    if data:
        counts = ", ".join(f"{count:,} {part}" for part, count in report["parts"].items())
        print(f"{counts}; {counted(len(report['classes']), 'class')}")
        for name, suggestion in report["suggestions"].items():
            print(f"suggested: --{name}={suggestion['value']} ({suggestion['reason']})")
    print(f"{counted(len(report['problems']), 'finding')}; {folder / 'doctor.html'}, {folder / 'doctor.json'}")
    print(report["verdict"])
    if "command" in report:
        print(f"  {report['command']}")
    return int(any(problem["stops"] for problem in report["problems"]))


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
