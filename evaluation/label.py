r"""Labels the training pictures without a label: a CSV file with class, probability and abstention, and a ledger.

python -m semppl.evaluation.label --workdir=outputs/own --out=labelled
python -m semppl.evaluation.label --preset=own_pictures_cpu --data='folder:pictures?labels=labels.csv' --out=labelled
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib
import sys
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.wording import counted
from semppl.programs import quiet
from semppl.programs.advice import advice_flags

for _name in advice_flags.KEYS:
    flags.declare_key_flag(_name)
_MIN_PROBABILITY = flags.DEFINE_float(
    "min_probability", 0.5, "Probability below which a picture gets no label.", lower_bound=0.0, upper_bound=1.0
)

quiet.parse_flags(__name__, required=["out"], define=advice_flags.accept_encoder, check=advice_flags.check)

from semppl.data.images import NO_LABEL
from semppl.evaluation.advice import ledger, pseudo_labels
from semppl.evaluation.advice.embedded import Embedded, load
from semppl.evaluation.advice.label_rows import write_table
from semppl.runs.files import require_plain

HEADER = ("path", "label", "class", "probability", "abstain", "chosen_on")
_CHOSEN_ON = {
    pseudo_labels.VALIDATION: "the validation pictures",
    pseudo_labels.CROSS_VALIDATION: "cross-validation of the labelled pictures",
}


def label(embedded: Embedded, out: str | pathlib.Path, *, min_probability: float = 0.5) -> dict[str, Any]:
    """Writes `labels.csv` and the ledger `pseudo_labels.parquet`.

    In `labels.csv`, the column label is empty where the program abstains; class is always the likeliest.

    Args:
        embedded: Training pictures with features.
        out: Folder to write: a new one, or one with a ledger, to which the step is added.
        min_probability: Probability, in 0..1, below which a picture gets no label.

    Returns:
        "pictures", "labelled" (the number of labels given), "method", "chosen_on" (the pictures by which the method was chosen
        and the probabilities calibrated), "held_out" (accuracy on these by method), "coverage" and "accuracy" of the labels that
        these would be given (absent if none can be held out), "test" (the same of the test pictures, which decide nothing;
        absent without any), "changed", and "optimistic" (whether the features may have been trained on the labels that decide).

    Raises:
        ValueError: If the folder holds no ledger, no picture is without a label, or the labels are of fewer than two classes.
    """
    folder = require_ledger_or_nothing(out)
    known = embedded.labels[embedded.labels != NO_LABEL]
    if len(np.unique(known)) < 2:
        raise ValueError(
            f"--data must have labels of two or more classes. Received: {counted(len(np.unique(known)), 'class')}"
        )
    if len(known) == len(embedded.labels):
        raise ValueError(
            f"--data must have pictures without a label. Received: {counted(len(known), 'picture')}, all with a label"
        )
    found = pseudo_labels.label_rows(
        embedded.features,
        embedded.labels,
        validation=embedded.held_out("validation"),
        test=embedded.held_out("test"),
        seed=embedded.hyperparameters.seed,
    )
    abstains = found.probabilities < min_probability
    folder.mkdir(parents=True, exist_ok=True)
    rows = ledger.ledger_rows(embedded, found, abstains)
    changed = ledger.write_ledger(folder / ledger.FILE, rows)
    write_table(folder / "labels.csv", [HEADER, *(_cells(embedded, row) for row in rows)])
    report: dict[str, Any] = {"pictures": len(rows), "labelled": int(np.sum(~abstains)), "method": found.method}
    report |= {"chosen_on": found.chosen_on, "held_out": found.held_out, "changed": changed}
    report["optimistic"] = embedded.trained_on_labels and found.chosen_on != pseudo_labels.VALIDATION
    report |= _given(found.judged, min_probability)
    if found.tested is not None:
        report["test"] = _given(found.tested, min_probability)
    return report


def _given(judged: pseudo_labels.Judged, min_probability: float) -> dict[str, float]:
    """Returns "coverage" and "accuracy" of the labels that are given to judged pictures."""
    if not len(judged.right):
        return {}
    given = judged.probabilities >= min_probability
    report = {"coverage": float(given.mean())}
    return report | {"accuracy": float(judged.right[given].mean())} if given.any() else report


def require_ledger_or_nothing(out: str | pathlib.Path) -> pathlib.Path:
    """Returns the path of the folder that --out names.

    Raises:
        ValueError: If the folder exists, has no ledger, and no other process is about to write one.
    """
    folder = pathlib.Path(out)
    require_plain(folder, "out")
    if folder.exists() and not any((folder / name).is_file() for name in (ledger.FILE, ledger.LOCK)):
        raise ValueError(f"--out must be a new folder, or one with {ledger.FILE}. Received: {out}")
    return folder


def _cells(embedded: Embedded, row: dict[str, Any]) -> list[str]:
    given = "" if row["abstain"] else row["label"]
    return [
        embedded.name(row["position"]),
        given,
        row["label"],
        f"{row['probability']:.4f}",
        str(row["abstain"]).lower(),
        row["chosen_on"],
    ]


def _lines(report: dict[str, Any]) -> list[str]:
    """Formats how the labels were chosen, and how many held-out and test pictures get the right one."""
    if not report["held_out"]:
        return [
            "no labelled picture could be held out: labels are those of the vote, and probabilities are its shares, not calibrated"
        ]
    figures = ", ".join(f"{name} {value:.3f}" for name, value in report["held_out"].items())
    lines = [f"chosen on {_CHOSEN_ON[report['chosen_on']]}: accuracy {figures}"]
    for name, given in (
        ("of these", report),
        ("of the test pictures, which were not used to choose", report.get("test", {})),
    ):
        if "accuracy" in given:
            lines.append(
                f"{name}, {given['coverage']:.1%} get a label, and {given['accuracy']:.1%} of these labels are right"
            )
    return lines


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    out = advice_flags.out_folder()
    require_ledger_or_nothing(out)
    report = label(load(*advice_flags.source_from_flags(), joint=True), out, min_probability=_MIN_PROBABILITY.value)
    print(f"{report['labelled']} of {report['pictures']} pictures labelled by {report['method']} in {out}/labels.csv")
    print("\n".join(_lines(report)))
    if report["optimistic"]:
        print(
            "warning: method and probabilities are chosen on labels that the run may have been trained on, so that probabilities "
            "may be too high; name other labelled pictures with --validation",
            file=sys.stderr,
        )
    if report["changed"] is not None:
        print(f"{report['changed']} labels differ from those of the step before in {out}/{ledger.FILE}")
    return 0


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
