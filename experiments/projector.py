"""Writes a run's training images for TensorBoard's projector: thumbnails, labels, pseudo-labels and true classes.

python -m semppl.experiments.projector --workdir=outputs/digits
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib
import shutil

import numpy as np
from absl import flags

from semppl.configs.wording import counted
from semppl.programs import quiet, run_flags

flags.adopt_module_key_flags(run_flags)
_IMAGES = flags.DEFINE_integer(
    "projector_images", 5000, "Number of training images in the projector, evenly spaced.", lower_bound=2
)

quiet.parse_flags(__name__, required=["workdir"])

from semppl.data.images import NO_LABEL
from semppl.data.thumbnails import square_thumbnails
from semppl.evaluation.advice.embedded import Embedded, embedded_by_run
from semppl.evaluation.advice.vote import vote
from semppl.evaluation.neighbours.directions import unit
from semppl.export.collections.projector import side_of_thumbnails, write_projector
from semppl.runs.folder import events_folder


def project(workdir: str | pathlib.Path, *, images: int = 5000) -> pathlib.Path:
    """Writes the folder of the projector, in place of a former one.

    The columns are name, label (empty where hidden), pseudo_label (the class that wins the vote of the 20 nearest labelled images,
    on images without a label), vote_share, truth, and right (whether label or pseudo-label is the truth, where that is known).

    Args:
        workdir: Folder of the run.
        images: Number of images, evenly spaced; all, if there are fewer.

    Returns:
        The folder.

    Raises:
        ValueError: If there is no run, no checkpoint or no labelled image.
    """
    embedded = embedded_by_run(workdir, joint=True)
    if not (embedded.labels != NO_LABEL).any():
        raise ValueError(
            f"--workdir must be a run with labelled images, which vote. Received: {workdir}, without a label"
        )
    rows = np.unique(np.linspace(0, len(embedded.labels) - 1, min(images, len(embedded.labels))).astype(int))
    shown = square_thumbnails(embedded.images, rows, side=side_of_thumbnails(len(rows)))
    folder = events_folder(pathlib.Path(workdir)) / "projector"
    shutil.rmtree(folder, ignore_errors=True)
    write_projector(folder, embedded.features[rows], columns_of(embedded, rows), list(shown))
    return folder


def columns_of(embedded: Embedded, rows: np.ndarray) -> dict[str, list[str]]:
    """Returns the columns of images at `rows`, as strings; see `project`."""
    known = np.flatnonzero(embedded.labels != NO_LABEL)
    classes, own = np.unique(embedded.labels[known], return_inverse=True)
    ballot = vote(unit(embedded.features[rows]), unit(embedded.features[known]), own, len(classes))
    elected, shares = classes[ballot.shares.argmax(1)], ballot.shares.max(1)
    labels, truth = embedded.labels[rows], embedded.images.labels[rows]
    hidden = labels == NO_LABEL
    assigned = np.where(hidden, elected, labels)
    name = embedded.class_name
    return {
        "name": [embedded.name(row) for row in rows.tolist()],
        "label": [name(label) for label in labels.tolist()],
        "pseudo_label": [name(label) if h else "" for label, h in zip(elected.tolist(), hidden, strict=True)],
        "vote_share": [f"{share:.2f}" if h else "" for share, h in zip(shares, hidden, strict=True)],
        "truth": [name(label) for label in truth.tolist()],
        "right": [
            "" if real == NO_LABEL else "yes" if real == given else "no"
            for real, given in zip(truth.tolist(), assigned.tolist(), strict=True)
        ],
    }


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    folder = project(run_flags.WORKDIR.value, images=_IMAGES.value)
    count = len((folder / "tensors.tsv").read_text(encoding="utf-8").splitlines())
    print(f"{counted(count, 'image')} in {folder}")
    print(f"to view them: tensorboard --logdir {run_flags.WORKDIR.value}, then http://localhost:6006/#projector")
    return 0


if __name__ == "__main__":
    quiet.run(main)
