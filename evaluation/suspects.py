r"""Lists suspicious pictures: labels that neighbours contradict, duplicates with different labels, and outliers.

python -m semppl.evaluation.suspects --workdir=outputs/own --out=suspects
python -m semppl.evaluation.suspects --preset=own_pictures_cpu --data='folder:pictures?labels=labels.csv' --out=suspects
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import math
import pathlib

import numpy as np
from absl import flags

from semppl.configs.wording import counted
from semppl.programs import extras, quiet
from semppl.programs.advice import advice_flags

for _name in (*advice_flags.KEYS, "count"):
    flags.declare_key_flag(_name)

quiet.parse_flags(__name__, required=["out"], define=advice_flags.accept_encoder, check=advice_flags.check)

from semppl.data.duplicates import Prints, exact_duplicates, near_duplicates
from semppl.data.images import NO_LABEL
from semppl.evaluation.advice.embedded import Embedded, load
from semppl.evaluation.advice.label_rows import write_table
from semppl.evaluation.advice.page import suspects_page
from semppl.evaluation.advice.suspicion import Suspect, conflicting, doubt_labels, outliers, ranked
from semppl.runs.files import folder_written_aside, require_new_folder

HEADER = ("rank", "path", "label", "neighbours_label", "score", "reasons")


def suspects(embedded: Embedded, out: str | pathlib.Path, *, count: int = 50) -> tuple[list[Suspect], str]:
    """Writes `suspects.csv` and `suspects.html`: duplicates with different labels, doubtful labels, and outliers.

    Args:
        embedded: Training pictures with features.
        out: Folder to write, which must not exist.
        count: Maximum number of pictures.

    Returns:
        The suspicious pictures, and how they were found, in words.

    Raises:
        ValueError: If the folder exists, or fewer than two pictures have a label.
    """
    target = require_new_folder(out)
    known = np.flatnonzero(embedded.labels != NO_LABEL)
    if len(known) < 2:
        raise ValueError(f"--data must have two or more labelled pictures. Received: {len(known)}")
    classes = len(np.unique(embedded.labels[known]))
    doubts = doubt_labels(embedded.features, embedded.labels) if classes > 1 else None
    prints = Prints.of(embedded.images.select(known))
    groups = [known[list(group)].tolist() for group in (*exact_duplicates(prints), *near_duplicates(prints))]
    _, unlike = outliers(embedded.features)
    found = ranked(
        doubts,
        conflicting(groups, embedded.labels),
        unlike.tolist(),
        class_names=embedded.class_names,
        count=count,
    )
    why = f"{_ranking(classes)}; by {embedded.origin}, from {counted(len(known), 'labelled picture')}."
    with folder_written_aside(target) as folder:
        write_table(folder / "suspects.csv", [HEADER, *(_cells(embedded, *row) for row in enumerate(found, start=1))])
        (folder / "suspects.html").write_text(suspects_page(embedded, found, why), encoding="utf-8")
    return found, why


def _ranking(classes: int) -> str:
    if classes < 2:
        return "Labels are of one class, so that none is doubted"
    if extras.has_extra("quality"):
        return "Ranked by cleanlab's adjusted margin of the leave-one-out vote"
    return f"Ranked by the margin of the leave-one-out vote; the ranking of cleanlab {extras.needs_extra('quality')}"


def _cells(embedded: Embedded, rank: int, suspect: Suspect) -> list[str]:
    label = embedded.class_name(int(embedded.labels[suspect.row]))
    score = "" if math.isnan(suspect.score) else f"{suspect.score:.4f}"
    return [
        str(rank),
        embedded.name(suspect.row),
        label,
        suspect.neighbours_label,
        score,
        "; ".join(suspect.reasons),
    ]


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    out = advice_flags.out_folder()
    require_new_folder(out)
    embedded = load(*advice_flags.source_from_flags())
    found, why = suspects(embedded, out, count=advice_flags.COUNT.value)
    print(f"{counted(len(found), 'suspicious picture')} in {out}/suspects.csv and {out}/suspects.html")
    print(why)
    return 0


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
