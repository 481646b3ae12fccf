"""Evaluates a run's encoder, or an exported model, on held-out images: prints a table; of a run, also writes `metrics.json`.

python -m semppl.evaluation.evaluate --workdir=outputs/digits
python -m semppl.evaluation.evaluate --model=served/digits/1 --test=SOURCE
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from absl import flags

from semppl.configs import choices
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.programs import model_flags, place_flags, quiet, run_flags

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(place_flags)
flags.declare_key_flag("model")

_NEIGHBOURS = flags.DEFINE_integer(
    "k", 1, "Number of nearest neighbours that vote in `nearest_neighbours`.", lower_bound=1
)
_EVALUATORS = flags.DEFINE_list(
    "evaluators",
    None,
    f"Comma-separated names of the evaluators to run, among {', '.join(choices.EVALUATORS)}; by default all.",
)
_SEEDS = flags.DEFINE_integer(
    "evaluation_seeds",
    1,
    "Number of seeds of the draws that evaluators make, samples and folds; several add the standard deviation of each measure.",
    lower_bound=1,
)
_ROBUSTNESS = flags.DEFINE_boolean(
    "robustness",
    False,
    "Whether to measure errors under the 19 corruptions of ImageNet-C instead, on at most 1,000 test images, and to write "
    "robustness.json.",
)
_BASELINE = flags.DEFINE_string(
    "baseline",
    "",
    "With --robustness: folder of a run that was evaluated with --robustness, to whose errors mean corruption errors are relative.",
)
_SHIFTED_TESTS = flags.DEFINE_multi_string(
    "shifted_test",
    [],
    "With --robustness: source of shifted test images, in the form of --test; repeat the flag for several sources.",
)
_SPLIT = flags.DEFINE_enum("split", "test", choices.SPLITS, "Held-out images of the run to evaluate on.")

quiet.parse_flags(__name__)

import tensorflow as tf

from semppl.data.images import NO_LABEL, Images, ImageSet, Source
from semppl.data.run_data import load_evaluated_data
from semppl.data.splits import RunData, load_held_out
from semppl.evaluation.evaluators import ALL_LABELS, EVALUATORS, SAMPLE, Task, drawn, training_sample
from semppl.evaluation.exported import evaluate_model, report_lines
from semppl.evaluation.feature_store import FeatureStore, SharedFeatureStore
from semppl.evaluation.features import embed, map_rows, preparation_of
from semppl.evaluation.neighbours.old_index import Embedded, old_index_accuracies, old_index_lines
from semppl.evaluation.results.classes import class_lines, class_report, confusion_matrix
from semppl.evaluation.results.details import detail_lines, details
from semppl.evaluation.results.floors import colour_histograms, histogram_classes, majority_classes, small_pixels
from semppl.evaluation.results.measures import MEASURES, MORE_MEASURES
from semppl.evaluation.results.seeds import over_seeds, seed_lines
from semppl.evaluation.results.table import (
    Measured,
    below_floors,
    best,
    fair_columns,
    floor_line,
    prefix_row,
    served_lines,
    shown_cell,
    table,
)
from semppl.evaluation.robustness import measurement
from semppl.layers.networks import OnlineNetwork, unit_norm
from semppl.runs import checkpoints, compatible_run
from semppl.runs.files import write_atomically
from semppl.runs.folder import unfinished

_MANY = 20_000  # pictures on disk, of which raw pixels are not decoded for all labels
_MAX_HISTOGRAMS = 10_000  # labelled images
_BRIEF = 2.0
"""Seconds of an evaluation that needs no bar."""

ROWS = ("raw_pixels", "features", "projections", "joint", "classifier")
"""Representations that a run may have."""

Report = dict[str, Any]


def evaluate(
    workdir: str | pathlib.Path,
    *,
    k: int = 1,
    evaluators: Sequence[str] = tuple(EVALUATORS),
    split: str = "test",
    moved: Mapping[str, Any] | None = None,
) -> dict[str, Measured]:
    """Evaluates the latest checkpoint of a run on held-out images, and writes `metrics.json` or `metrics_validation.json`.

    Args:
        workdir: Folder of the run.
        k: Number of nearest neighbours that vote, 1 or more.
        evaluators: Keys of EVALUATORS. Those that use unlabelled images use a fixed sample of at most 20,000 training images
            (of raw pixels, at most 512 MB); label spreading uses at most 12,000 of these.
        split: "test" or "validation"; images without a label are left out.
        moved: Settings, by name, of data that now lie elsewhere; see `load_run_data`. A "test" may also be a source for a run that
            began without one, or that holds out a share.

    Returns:
        Accuracy and balanced accuracy (the mean over classes): measure → representation → evaluator → value in 0..1.
        Representations are the raw pixels, the encoder's features, the projections, and both together ("joint"). A run that trains
        no projector lacks the last two; a run that trains a classifier has "classifier", with the evaluator "own"; a run with
        `nested_dims` has a prefix of the projections for each, such as "projections[:8]". Raw pixels are those of the view that
        is embedded, at most 32 × 32.

    Raises:
        ValueError: If there is no run, no checkpoint, no such evaluator, or no labelled image to evaluate on.
    """
    report = evaluate_run(workdir, k=k, evaluators=evaluators, split=split, moved=moved)
    return {measure: report[measure] for measure in MEASURES}


def evaluate_run(
    workdir: str | pathlib.Path,
    *,
    k: int = 1,
    evaluators: Sequence[str] = tuple(EVALUATORS),
    split: str = "test",
    seeds: int = 1,
    moved: Mapping[str, Any] | None = None,
) -> Report:
    """Evaluates as `evaluate` does; returns all that is written.

    Args:
        workdir: Folder of the run.
        k: Number of nearest neighbours that vote, 1 or more.
        evaluators: Keys of EVALUATORS; with all of them, details of the projections are measured too.
        split: "test" or "validation".
        seeds: Number of seeds, 1 or more, of the draws that evaluators make: samples and folds. All figures but those of "seeds"
            are of the first.
        moved: Settings, by name, of data that now lie elsewhere; see `evaluate`.

    Returns:
        The measures of `evaluate`, Cohen's kappa and macro F1; "step", "steps" (of the whole run), "unfinished" (true for a run
        that was not trained to its last step), "k", the numbers of held-out and of labelled images;
        "floors", measures of classifiers without an encoder; "classes", the accuracy of each class, the commonest confusions and
        the confusion matrix of one row and column, which "of" names; with all evaluators, "details" of the projections (see
        `details`); with several seeds, "seeds": mean, spread and n of every measure; of a run with `compatible_with`, "old_index"
        (see `old_index_accuracies`), if the older run is there.
    """
    moved = dict(moved or {})
    _check(k, evaluators, split, moved)
    if seeds < 1:
        raise ValueError(f"--evaluation_seeds must be a positive integer. Received: {seeds}")
    hyperparameters, network, step = checkpoints.load_online(workdir)
    data = load_evaluated_data(workdir, hyperparameters, moved)
    images, names = labelled_images(data.source, split), data.source.class_names
    visible = np.flatnonzero(data.labels != NO_LABEL)
    rows = [*ROWS, *map(prefix_row, hyperparameters.nested_dims)]
    predict = functools.partial(_predictions, workdir, hyperparameters, network, data, images, evaluators, k, rows=rows)
    classes, histogram, task = predict()
    metrics = _measured(classes, images.labels)
    row, column = shown_cell(metrics["accuracy"])
    report = {
        "step": step,
        "steps": hyperparameters.steps,
        "unfinished": bool(unfinished(workdir, step, hyperparameters.steps)),
        "k": k,
        f"{split}_images": len(images),
        **{name: moved[name] for name in ("test",) if name in moved},
        "labelled": len(visible),
        **metrics,
        "floors": _floors(metrics, images.labels, histogram, len(names)),
        "classes": {"of": f"{row}, {column}"}
        | class_report(classes[row][column], images.labels, names)
        | confusion_matrix(classes[row][column], images.labels, names),
    }
    if set(evaluators) == set(EVALUATORS):
        report["details"] = details(
            task,
            images.labels,
            num_classes=len(names),
            neighbours=hyperparameters.neighbours,
            min_vote_share=hyperparameters.min_vote_share,
        )
    if hyperparameters.compatible_with:
        report |= _with_old_index(workdir, hyperparameters, network, data, images, k)
    if seeds > 1:
        others = [_measured(predict(seed=seed)[0], images.labels) for seed in range(1, seeds)]
        report["seeds"] = over_seeds([metrics, *others])
    file = pathlib.Path(workdir) / written_to(split)
    try:
        write_atomically(file, json.dumps(report, indent=2) + "\n")
    except OSError as error:  # the figures are not lost for that
        print(f"warning: {file} was not written ({error.strerror})", file=sys.stderr, flush=True)
    return report


def measure_rows(
    workdir: str | pathlib.Path, rows: Collection[str], *, evaluators: Sequence[str], split: str
) -> dict[str, Measured]:
    """Measures single representations of a run's latest checkpoint as `evaluate` does, and writes no file.

    Args:
        workdir: Folder of the run.
        rows: Representations, of ROWS; those that the run does not have are left out.
        evaluators: Keys of EVALUATORS.
        split: "test" or "validation".

    Returns:
        Accuracy and balanced accuracy: measure → representation → evaluator → value in 0..1.

    Raises:
        ValueError: If there is no run, no checkpoint, or no labelled image to evaluate on.
    """
    hyperparameters, network, _ = checkpoints.load_online(workdir)
    data = load_evaluated_data(workdir, hyperparameters, {})
    images = labelled_images(data.source, split)
    classes, _, _ = _predictions(workdir, hyperparameters, network, data, images, evaluators, 1, rows=rows)
    measured = _measured(classes, images.labels)
    return {measure: measured[measure] for measure in MEASURES}


def evaluate_robustness(
    workdir: str | pathlib.Path,
    *,
    k: int = 1,
    baseline: str = "",
    shifted: Sequence[str] = (),
    moved: Mapping[str, Any] | None = None,
) -> Report:
    """Measures the errors of a run's latest checkpoint on corrupted and shifted test images, and writes `robustness.json`.

    Args:
        workdir: Folder of the run.
        k: Number of nearest neighbours that vote, 1 or more.
        baseline: Folder of a run that was measured before; empty: none.
        shifted: Sources of shifted test images, in the form of --test.
        moved: Settings, by name, of data that now lie elsewhere; see `evaluate`.

    Returns:
        "step", "images", "images_sha256" (a digest of the test images and their classes), and "errors" (see
        `corrupted_errors`); with shifted sources "shifted", source → classifier → error;
        with a baseline "beside_baseline" (see `beside_baseline`).

    Raises:
        ValueError: If there is no run, no checkpoint, no labelled test image, or no measurement of the baseline.
    """
    moved = dict(moved or {})
    _check(k, (), "test", moved)
    hyperparameters, network, step = checkpoints.load_online(workdir)
    data = load_evaluated_data(workdir, hyperparameters, moved)
    settings = dataclasses.replace(hyperparameters, **{name: value for name, value in moved.items() if name != "test"})
    others = {spec: load_held_out(settings, spec, data.source.class_names) for spec in shifted}
    test = labelled_images(data.source, "test")
    pixels, truth = measurement.seen_pixels(test, hyperparameters)
    report: Report = {"step": step, "k": k, "images": len(truth)}
    report["images_sha256"] = measurement.digest_of_seen(test, data.source.class_names)
    baseline_errors = measurement.read_errors(baseline, report) if baseline else {}
    classify = measurement.classifiers_of(workdir, network, data.source.train, data.labels, hyperparameters, k=k)
    report["errors"] = measurement.corrupted_errors(classify, pixels, truth)
    for spec, images in others.items():
        known = images.select(np.flatnonzero(images.labels != NO_LABEL))
        errors = measurement.classification_errors(classify, *measurement.seen_pixels(known, hyperparameters))
        report.setdefault("shifted", {})[spec] = errors
    if baseline:
        report |= {
            "baseline": baseline,
            "beside_baseline": measurement.beside_baseline(report["errors"], baseline_errors),
        }
    write_atomically(pathlib.Path(workdir) / measurement.FILE, json.dumps(report, indent=2) + "\n")
    return report


def _with_old_index(
    workdir: str | pathlib.Path,
    hyperparameters: Hyperparameters,
    network: OnlineNetwork,
    data: RunData,
    test: Images,
    k: int,
) -> dict[str, dict[str, float]]:
    """Returns accuracies of new queries in an old index, as "old_index"; warns and returns nothing without the older run."""
    try:
        compatible_run.check_compatible_run(hyperparameters, pathlib.Path(workdir))
        old_settings, old_network = compatible_run.load_old_network(hyperparameters.compatible_with)
    except ValueError as error:
        print(f"warning: the index of the older run is not evaluated: {error}", file=sys.stderr, flush=True)
        return {}
    train, visible = data.source.train, np.flatnonzero(data.labels != NO_LABEL)
    old, new = (
        Embedded(embed(project, train, prepare=prepare, positions=visible), embed(project, test, prepare=prepare))
        for project, prepare in (
            (old_network.project, preparation_of(old_settings)),
            (network.project, preparation_of(hyperparameters)),
        )
    )
    return {"old_index": old_index_accuracies(old, new, train.labels[visible], test.labels, k=k)}


def written_to(split: str) -> str:
    """Returns the name of the file, in the run's folder, that has the report on a split."""
    return "metrics.json" if split == "test" else f"metrics_{split}.json"


def _predictions(
    workdir: str | pathlib.Path,
    hyperparameters: Hyperparameters,
    network: OnlineNetwork,
    data: RunData,
    test: Images,
    evaluators: Sequence[str],
    k: int,
    seed: int = 0,
    rows: Collection[str] = ROWS,
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray, Task]:
    """Returns the classes `[t]` by representation and evaluator, those by the colour histogram, and the task of the details.

    Without raw pixels among `rows`, there is no histogram, `[0]`.
    """
    train, visible = data.source.train, np.flatnonzero(data.labels != NO_LABEL)
    if np.array_equal(visible, np.flatnonzero(train.labels != NO_LABEL)):  # no label is hidden
        evaluators = _without_all_labels(evaluators) or evaluators
    prepare, width = preparation_of(hyperparameters), _pixels(hyperparameters)
    classifier = checkpoints.load_classifier(workdir)
    features_of = _features_of(workdir, hyperparameters, network)
    embedded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    tasks: dict[str, Task] = {}
    classes: dict[str, dict[str, np.ndarray]] = {}
    of_features = {}
    if checkpoints.trains_projector(workdir):
        of_features = _representations(network, hyperparameters.nested_dims)
    names = [name for name in ("raw_pixels", "features", *of_features) if name in rows or name == "features"]
    histogram = np.zeros(0, np.int32)
    chosen_of = {name: evaluators if name in rows else () for name in ("features", *of_features)}
    chosen_of |= {"raw_pixels": _affordable(evaluators, train)}
    with _bar(sum(len(chosen_of[name]) for name in names)) as bar:
        for name in names:
            bar.write(f"evaluating {name} …", file=sys.stderr)
            sample = training_sample(visible, train, values=width if name == "raw_pixels" else 0, seed=seed)
            by_projections = name == "features" and of_features
            used = _used(evaluators if by_projections else chosen_of[name], train, visible, sample)
            if name in of_features:  # without another pass over the images
                both = [map_rows(of_features[name], features) for features in embedded["features"]]
            elif name == "features":
                both = [features_of(train, used), features_of(test, None)]
            else:
                pixels = functools.partial(embed, _pixels_and_histogram, prepare=prepare)
                both = [pixels(train, positions=used), pixels(test)]
            places = np.searchsorted(used, visible), np.flatnonzero(np.isin(used, sample))
            if name == "raw_pixels":
                most = drawn(places[0], _MAX_HISTOGRAMS)
                histogram = histogram_classes(both[0][most, width:], train.labels[used[most]], both[1][:, width:])
                both = [part[:, :width] for part in both]
            embedded[name] = (both[0], both[1])
            tasks[name] = task = Task(both[0], train.labels[used], *places, both[1], k, seed)
            if name in rows:
                classes[name] = {}
            for evaluator in chosen_of[name]:
                bar.set_description(f"{name}, {evaluator}", refresh=bar.format_dict["elapsed"] > _BRIEF)
                classes[name][evaluator] = EVALUATORS[evaluator].classes(task)
                bar.update()
            if classifier is not None and name == "features" and "classifier" in rows:
                kernel, bias = classifier
                classes["classifier"] = {"own": np.argmax(task.test @ kernel + bias, -1)}
    return classes, histogram, tasks.get("projections", tasks["features"])


def _representations(network: OnlineNetwork, nested_dims: Sequence[int]) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns the functions from features `[B, F]` to other representations, unit-norm, by name."""

    def leading(features: tf.Tensor, dims: int) -> tf.Tensor:
        return unit_norm(network.project_features(features)[:, :dims])

    prefixes = {prefix_row(dims): functools.partial(leading, dims=dims) for dims in nested_dims}
    return {"projections": network.project_features, **prefixes, "joint": network.join_features}


def _features_of(
    workdir: str | pathlib.Path, hyperparameters: Hyperparameters, network: OnlineNetwork
) -> Callable[[Images, np.ndarray | None], np.ndarray]:
    """Returns the function from images and positions to features `[k, F]`, which are kept.

    Those of an encoder that is not trained are kept in `--cache_dir`, where there is one, for all runs with this encoder.
    """
    prepare = preparation_of(hyperparameters)
    if hyperparameters.train == "all" or not hyperparameters.cache_dir:
        own = FeatureStore(workdir)
        return lambda images, positions: own.embed(network.features, images, prepare=prepare, positions=positions)
    shared = SharedFeatureStore(hyperparameters, network.encoder)

    def scaled(images: Images, positions: np.ndarray | None) -> np.ndarray:
        return map_rows(network.features, shared.embed(network.encode, images, prepare=prepare, positions=positions))

    return scaled


def _bar(total: int) -> tqdm.tqdm:
    """Returns a bar that shows the number of classifiers, and the remaining time at the mean speed so far."""
    return tqdm.tqdm(total=total, unit=" classifiers", delay=_BRIEF, mininterval=1, smoothing=0, leave=False)


def _affordable(evaluators: Sequence[str], train: Images) -> Sequence[str]:
    """Leaves out evaluators that need raw pixels of all pictures on disk, where these are many."""
    many = not isinstance(train, ImageSet) and len(train) > _MANY
    return _without_all_labels(evaluators) if many else evaluators


def _without_all_labels(evaluators: Sequence[str]) -> list[str]:
    """Leaves out evaluators that need all images whose label is known."""
    return [name for name in evaluators if EVALUATORS[name].images != ALL_LABELS]


def _floors(
    metrics: dict[str, Measured], truth: np.ndarray, histogram: np.ndarray, num_classes: int
) -> dict[str, dict[str, float]]:
    """Returns, by measure, the values of classifiers without an encoder."""
    floors = {}
    for measure, function in MEASURES.items():
        values = {"chance": 1 / num_classes, "majority_class": function(majority_classes(truth), truth)}
        pixels = best(metrics[measure], ["raw_pixels"], fair_columns({"": metrics[measure]["raw_pixels"]}))
        values |= {"raw_pixels": pixels[0]} if pixels else {}
        floors[measure] = values | {"colour_histogram": function(histogram, truth)}
    return floors


def _check(k: int, evaluators: Sequence[str], split: str, moved: Mapping[str, Any]) -> None:
    if k < 1:
        raise ValueError(f"--k must be a positive integer. Received: {k}")
    if split not in choices.SPLITS:
        raise ValueError(f"--split must be one of {', '.join(choices.SPLITS)}. Received: {split}")
    _check_split(split, moved)
    unknown = set(evaluators) - set(EVALUATORS)
    if unknown:
        raise ValueError(f"--evaluators must be of {', '.join(EVALUATORS)}. Received: {', '.join(sorted(unknown))}")


def _check_split(split: str, moved: Mapping[str, Any]) -> None:
    if "test" in moved and split != "test":
        raise ValueError(f"--test must come with --split=test. Received: --split={split}")


def labelled_images(source: Source, split: str) -> Images:
    """Returns the images of a split, "test" or "validation", that have a label.

    Raises:
        ValueError: If none has.
    """
    held_out = source.held_out(split)
    positions = np.flatnonzero(held_out.labels != NO_LABEL)
    if not len(positions):
        raise ValueError(
            f"--{split} must have labels to judge by. Received: {counted(len(held_out), 'image')}, none with a label"
        )
    return held_out.select(positions)


def _used(evaluators: Sequence[str], train: Images, visible: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Returns sorted positions of the training images that the evaluators need."""
    needs = {EVALUATORS[evaluator].images for evaluator in evaluators}
    used = np.union1d(visible, sample) if SAMPLE in needs else visible
    return np.union1d(used, np.flatnonzero(train.labels != NO_LABEL)) if ALL_LABELS in needs else used


def _pixels_and_histogram(images: tf.Tensor) -> tf.Tensor:
    return tf.concat([small_pixels(images), colour_histograms(images)], -1)


def _pixels(hyperparameters: Hyperparameters) -> int:
    """Returns the number of values of `small_pixels`."""
    size = hyperparameters.embedded_size
    return int(small_pixels(tf.zeros([1, size, size, hyperparameters.channels])).shape[-1])


def _measured(classes: dict[str, dict[str, np.ndarray]], truth: np.ndarray) -> dict[str, Measured]:
    """Computes every measure of the predicted classes against the ground truth `[t]`."""
    return {
        measure: {
            name: {evaluator: function(predictions, truth) for evaluator, predictions in row.items()}
            for name, row in classes.items()
        }
        for measure, function in (MEASURES | MORE_MEASURES).items()
    }


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    split, moved = _SPLIT.value, place_flags.moved_from_flags()
    _check_robustness(split)
    if model_flags.MODEL.value:
        _refuse_beside_a_model()
        print("\n".join(report_lines(evaluate_model(model_flags.MODEL.value, split=split, moved=moved))))
        return 0
    if _ROBUSTNESS.value:
        report = evaluate_robustness(
            run_flags.WORKDIR.value,
            k=_NEIGHBOURS.value,
            baseline=_BASELINE.value,
            shifted=_SHIFTED_TESTS.value,
            moved=moved,
        )
        print("\n".join(measurement.robustness_lines(report)))
        return 0
    report = evaluate_run(
        run_flags.WORKDIR.value,
        k=_NEIGHBOURS.value,
        evaluators=_EVALUATORS.value or tuple(EVALUATORS),
        split=split,
        seeds=_SEEDS.value,
        moved=moved,
    )
    if report["unfinished"]:
        print(unfinished(run_flags.WORKDIR.value, report["step"], report["steps"]), end="\n\n")
    print("\n".join(_lines(report, split)))
    return 0


def _refuse_beside_a_model() -> None:
    """Refuses flags that have no effect on the evaluation of an exported model."""
    for flag in (run_flags.WORKDIR, _NEIGHBOURS, _EVALUATORS, _SEEDS, _ROBUSTNESS):
        if flags.FLAGS[flag.name].value != flags.FLAGS[flag.name].default:
            raise ValueError(f"--{flag.name} must be left out beside --model. Received: {flag.value}")
    _check_split(_SPLIT.value, place_flags.moved_from_flags())


def _check_robustness(split: str) -> None:
    """Refuses flags that have no effect with, or without, --robustness."""
    if _ROBUSTNESS.value and (_EVALUATORS.value or split != "test"):
        raise ValueError("--robustness must be left out with --evaluators and --split=validation. Received: true")
    for flag in (_BASELINE, _SHIFTED_TESTS):
        if flag.value and not _ROBUSTNESS.value:
            raise ValueError(f"--{flag.name} must come with --robustness. Received: {flag.value}")


def _lines(report: Report, split: str) -> list[str]:
    """Formats a report of `evaluate_run`."""
    lines = []
    for measure in MEASURES:
        lines += [table(report[measure], measure), floor_line(report["floors"][measure]), ""]
    lines += [*class_lines(report["classes"], written_to=written_to(split)), ""]
    lines += served_lines(report["accuracy"], split)
    if "details" in report:
        lines += ["", *detail_lines(report["details"])]
    if "old_index" in report:
        lines += ["", *old_index_lines(report["old_index"])]
    if "seeds" in report:
        lines += ["", *seed_lines(report["seeds"])]
    warning = below_floors(report["accuracy"], report["floors"]["accuracy"])
    return [*lines, warning] if warning else lines


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
