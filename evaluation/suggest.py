r"""Suggests which pictures to label next: a CSV file to fill, and a page with thumbnails to label from.

python -m semppl.evaluation.suggest --workdir=outputs/own --count=40 --out=to_label
python -m semppl.evaluation.suggest --preset=own_pictures_cpu --data=folder:pictures --count=40 --out=to_label

The second command needs neither a run nor a label. `--data=folder:pictures?labels=to_label/labels.csv` takes the labels.
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib

import numpy as np
from absl import flags

from semppl.configs.wording import counted
from semppl.programs import quiet
from semppl.programs.advice import advice_flags

for _name in (*advice_flags.KEYS, "count"):
    flags.declare_key_flag(_name)
_STRATEGY = flags.DEFINE_enum(
    "choose",
    "auto",
    ("auto", "typical", "coverage", "uncertain"),
    "typical: of each cluster, the densest picture (TypiClust); coverage: those near most others (ProbCover); uncertain: those "
    "with the smallest margin between two classes, one per cluster; auto: typical until every class has ten labels or more than "
    "half of the pictures are covered, then uncertain.",
)

quiet.parse_flags(__name__, required=["out"], define=advice_flags.accept_encoder, check=advice_flags.check)

from semppl.evaluation.advice import selection
from semppl.evaluation.advice.embedded import Embedded, load
from semppl.evaluation.advice.label_rows import label_table, write_table
from semppl.evaluation.advice.page import labelling_page
from semppl.runs.files import folder_written_aside, require_new_folder


def suggest(
    embedded: Embedded, out: str | pathlib.Path, *, count: int = 50, strategy: str = selection.AUTO
) -> tuple[np.ndarray, str]:
    """Writes `labels.csv`, with the pictures to label first and all known labels after them, and `labels.html`.

    Args:
        embedded: Training pictures with features.
        out: Folder to write, which must not exist.
        count: Number of pictures to label.
        strategy: One of `selection.STRATEGIES`.

    Returns:
        Rows `[count]` of the pictures to label, and the reason of the choice, in words.

    Raises:
        ValueError: If the folder exists, or there are fewer pictures without a label.
    """
    target = require_new_folder(out)
    rows, why = selection.suggest_rows(
        embedded.features,
        embedded.labels,
        len(embedded.class_names),
        count,
        strategy=strategy,
        seed=embedded.hyperparameters.seed,
    )
    table = label_table(embedded, rows.tolist())
    with folder_written_aside(target) as folder:
        write_table(folder / "labels.csv", table)
        page = labelling_page(embedded, rows.tolist(), table, f"{why}; by {embedded.origin}.")
        (folder / "labels.html").write_text(page, encoding="utf-8")
    return rows, why


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    out = advice_flags.out_folder()
    require_new_folder(out)
    embedded = load(*advice_flags.source_from_flags())
    rows, why = suggest(embedded, out, count=advice_flags.COUNT.value, strategy=_STRATEGY.value)
    print(f"{counted(len(rows), 'picture')} to label: {why}")
    print(f"fill the column label of {out}/labels.csv, or label from {out}/labels.html")
    data = embedded.hyperparameters.data.partition("?labels=")[0]
    if data.startswith("folder:"):
        print(f"then train with --data='{data}?labels={pathlib.Path(out).absolute()}/labels.csv'")
    return 0


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
