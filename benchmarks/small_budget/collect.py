r"""Writes the log of finished, evaluated runs: what the figures need, a few kilobytes a run.

    python -m semppl.benchmarks.small_budget.collect --runs=outputs/small_budget/semppl-50-0,outputs/small_budget/simclr-50-0 \
      --logs_folder=benchmarks/small_budget/logs

A run is a folder of `semppl.trainers.pretrain`, on its own or in a comparison, that has been evaluated. The name of its log is made
of data, method, labels per class and seed.
"""

import datetime
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from absl import app, flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs.folder import read_done

_RUNS = flags.DEFINE_list("runs", [], "Comma-separated folders of runs.")
_OUT = flags.DEFINE_string("logs_folder", "benchmarks/small_budget/logs", "Folder of the logs.")

POINTS = 24
"""Points of a curve, at most."""

_CURVES = ("held_out_accuracy", "pseudo_label_accuracy", "pseudo_label_coverage")
_EVALUATED = ("metrics.json", "compared.json")

Log = dict[str, Any]


def log_of(run: pathlib.Path, *, points: int = POINTS) -> Log:
    """Reads the log of a run.

    Returns:
        "data", "method", "labels_per_class", "seed"; "settings", those that differ from the defaults; "steps"; "seconds" of all
        its processes; "versions"; "accuracy", representation → classifier → value; "curve", rows of "step" and the means, over the
        steps since the row before, of accuracies and coverage. The accuracy of pseudo-labels is that over all judged ones.

    Raises:
        ValueError: If the run is not finished, or not evaluated.
    """
    if not (run / "done.json").is_file():
        raise ValueError(f"--runs must be finished. Received: {run}, which has no done.json")
    reports = [run / name for name in _EVALUATED if (run / name).is_file()]
    if not reports:
        raise ValueError(
            f"--runs must be evaluated, by semppl-evaluate or semppl-compare. Received: {run}, which is not"
        )
    report = json.loads(reports[0].read_text(encoding="utf-8"))
    settings = Hyperparameters.load(run)
    processes = list(_lines(run / "processes.jsonl"))
    metrics = list(_lines(run / "metrics.jsonl")) if (run / "metrics.jsonl").is_file() else []
    return {
        "data": settings.data,
        "method": settings.method if settings.train == "all" else f"{settings.method} {settings.train}",
        "labels_per_class": settings.labels_per_class,
        "seed": settings.seed,
        "settings": {name: value for name, value in sorted(settings.identity().items()) if value != _default(name)},
        "steps": settings.steps,
        "weights_sha256": read_done(run)["weights_sha256"],
        "seconds": round(sum(_durations(processes))),
        "versions": next((line["versions"] for line in processes if "versions" in line), {}),
        "accuracy": report.get("measures", report)["accuracy"],
        "curve": thinned(metrics, points),
    }


def name_of(log: Log) -> str:
    """Returns the name of a log's file, such as `cifar10-semppl-50-0.json`."""
    data = log["data"].rpartition(":")[2].partition("?")[0]
    return "-".join([data, log["method"].replace(" ", "_"), str(log["labels_per_class"]), str(log["seed"])]) + ".json"


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
    """Returns what a value counts in a mean: an accuracy of pseudo-labels the number that it was computed from."""
    return row.get("pseudo_labels_judged", 1.0) if name == "pseudo_label_accuracy" else 1.0


def _default(name: str) -> Any:
    return getattr(Hyperparameters, name, None)


def _lines(path: pathlib.Path) -> Iterable[dict[str, Any]]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _durations(processes: Sequence[dict[str, Any]]) -> list[float]:
    """Returns the seconds of each process that said when it ended."""
    found, begin = [], None
    for line in processes:
        if "begins" in line:
            begin = datetime.datetime.fromisoformat(line["begins"])
        elif "ends" in line and begin is not None:
            found.append((datetime.datetime.fromisoformat(line["ends"]) - begin).total_seconds())
            begin = None
    return found


def main(argv: list[str]) -> None:
    """Writes a file per run."""
    del argv
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    for folder in _RUNS.value:
        log = log_of(pathlib.Path(folder))
        path = out / name_of(log)
        path.write_text(json.dumps(log) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    app.run(main)
