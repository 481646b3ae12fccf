r"""Writes the log of finished, evaluated runs: what the figures need, a few kilobytes a run.

    python -m semppl.benchmarks.small_budget.collect --runs=outputs/small_budget/semppl-50-0,outputs/small_budget/simclr-50-0 \
      --logs_folder=benchmarks/small_budget/logs

A run is a folder of `semppl.trainers.pretrain`, on its own or in a comparison, that has been evaluated. The name of its log is made
of data, method, labels per class and seed.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import app, flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import quiet
from semppl.runs.files import read_json_lines
from semppl.runs.folder import read_done
from semppl.runs.training_time import read_processes

_RUNS = flags.DEFINE_list("runs", [], "Comma-separated folders of finished, evaluated runs.")
_OUT = flags.DEFINE_string("logs_folder", "benchmarks/small_budget/logs", "Folder of the logs.")

POINTS = 24
"""Points of a curve, at most."""

_CURVES = ("held_out_accuracy", "pseudo_label_accuracy", "pseudo_label_coverage")
_EVALUATED = ("metrics.json", "compared.json")

Log = dict[str, Any]


def log_of(run: pathlib.Path, *, points: int = POINTS) -> Log:
    """Reads the log of a run.

    Args:
        run: Folder of the run.
        points: Maximum number of points of its curve.

    Returns:
        "data", "method", "labels_per_class", "seed"; "settings", those that differ from the defaults; "steps";
        "weights_sha256"; "seconds" of all its processes, None if one was killed; "versions"; "accuracy", representation →
        classifier → value; "curve", rows of "step" and the means, over the steps since the row before, of accuracies and
        coverage. Pseudo-label accuracy is weighted by the number of judged pseudo-labels.

    Raises:
        ValueError: If the run is not finished, or not evaluated.
    """
    if not (run / "done.json").is_file():
        raise ValueError(f"--runs must name finished runs. Received: {run}, without done.json")
    reports = [run / name for name in _EVALUATED if (run / name).is_file()]
    if not reports:
        allowed = "runs that semppl-evaluate or semppl-compare has evaluated"
        raise ValueError(f"--runs must name {allowed}. Received: {run}, without {' or '.join(_EVALUATED)}")
    report = json.loads(reports[0].read_text(encoding="utf-8"))
    settings = Hyperparameters.load(run)
    processes = read_processes(run)
    seconds = [process["seconds"] for process in processes]
    return {
        "data": settings.data,
        "method": _method(settings),
        "labels_per_class": settings.labels_per_class,
        "seed": settings.seed,
        "settings": recorded(settings),
        "steps": settings.steps,
        "weights_sha256": read_done(run)["weights_sha256"],
        "seconds": None if None in seconds else round(sum(seconds)),
        "versions": processes[0]["versions"] if processes else {},
        "accuracy": report.get("measures", report)["accuracy"],
        "curve": thinned(list(read_json_lines(run / "metrics.jsonl")), points),
    }


def recorded(settings: Hyperparameters) -> dict[str, Any]:
    """Returns the settings that differ from the defaults, by name."""
    return {name: value for name, value in sorted(settings.identity().items()) if value != _default(name)}


def name_of(log: Log) -> str:
    """Returns the name of a log's file, such as `cifar10-semppl-50-0.json`."""
    parts = (name_of_data(log["data"]), log["method"], str(log["labels_per_class"]), str(log["seed"]))
    return "-".join(part.replace(" ", "_") for part in parts) + ".json"


def name_of_data(data: str) -> str:
    """Returns the name of a source: `cifar10` of `tfds:cifar10?…`, and `pictures` of `folder:a/pictures?…`."""
    return data.partition("?")[0].rpartition(":")[2].rpartition("/")[2]


def write(log: Log, folder: pathlib.Path) -> pathlib.Path:
    """Writes a log; returns its path.

    Raises:
        ValueError: If a log of other settings has the same name.
    """
    path = folder / name_of(log)
    log = json.loads(json.dumps(log))  # tuples as the lists that they become in the file
    here = log["settings"]
    there = json.loads(path.read_text(encoding="utf-8"))["settings"] if path.is_file() else here
    differing = sorted(name for name in {**here, **there} if here.get(name) != there.get(name))
    if differing:
        allowed = "a folder without a log of another run of the same name"
        raise ValueError(f"--logs_folder must be {allowed}. Received: {path}, which differs in {', '.join(differing)}")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(log) + "\n", encoding="utf-8")
    return path


def _method(settings: Hyperparameters) -> str:
    """Returns the name of a run's method, with the part of the networks that is trained if that is not all."""
    if settings.method == "semppl" and settings.semantic_positives == 0:
        return "no semantic positives"
    return settings.method if settings.train == "all" else f"{settings.method} {settings.train}"


def thinned(metrics: Sequence[dict[str, float]], points: int) -> list[dict[str, float]]:
    """Averages the rows of `metrics.jsonl` over at most `points` intervals of equally many rows; the last row ends the last."""
    size = -(-len(metrics) // points) if metrics else 1
    starts = range(len(metrics) % size - size if len(metrics) % size else 0, len(metrics), size)
    parts = [metrics[max(start, 0) : start + size] for start in starts]
    return [{"step": part[-1]["step"]} | _means(part) for part in parts]


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    found = {}
    for name in _CURVES:
        known = [(row[name], _weight(row, name)) for row in rows if name in row]
        total = sum(weight for _, weight in known)
        if total:
            found[name] = round(sum(value * weight for value, weight in known) / total, 4)
    return found


def _weight(row: dict[str, float], name: str) -> float:
    """Returns the weight of a row in a mean: the number of judged pseudo-labels for their accuracy, else 1."""
    return row.get("pseudo_labels_judged", 1.0) if name == "pseudo_label_accuracy" else 1.0


def _default(name: str) -> Any:
    return getattr(Hyperparameters, name, None)


def runs_from_flag() -> list[pathlib.Path]:
    """Returns the folders of `--runs`.

    Raises:
        ValueError: If there is none.
    """
    if not _RUNS.value:
        raise ValueError("--runs must name finished, evaluated runs. Received: none")
    return [pathlib.Path(folder) for folder in _RUNS.value]


def folder_from_flag() -> pathlib.Path:
    """Returns the folder of `--logs_folder`."""
    return pathlib.Path(_OUT.value)


@quiet.program
def main(argv: list[str]) -> int:
    """Writes a file per run."""
    del argv
    for run in runs_from_flag():
        print(write(log_of(run), folder_from_flag()))
    return 0


if __name__ == "__main__":
    app.run(main)
