"""Draws a run's test images as points of a plane: their embeddings before training, and after.

python -m semppl.experiments.embedding_map --workdir=outputs/digits --out=docs/images/digits_embeddings.png
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib

import numpy as np
from absl import flags

from semppl.programs import model_flags, quiet, run_flags

flags.adopt_module_key_flags(run_flags)
flags.declare_key_flag("out")

quiet.parse_flags(__name__, required=["out"])

import tensorflow as tf
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from semppl.data.images import NO_LABEL
from semppl.data.splits import load_data
from semppl.evaluation.features import embed, preparation_of
from semppl.layers.networks import OnlineNetwork
from semppl.runs import checkpoints

PERPLEXITY = 20
MAX_LEGEND_CLASSES = 20


def embed_test_images(workdir: str | pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeds the labelled test images of a run with freshly initialised weights, and with trained ones.

    Args:
        workdir: Folder of the run.

    Returns:
        Projections `[N, D]` before training, projections `[N, D]` after training, and true labels `[N]`.

    Raises:
        ValueError: If there is no run, no checkpoint, or no test image with a label.
    """
    settings, trained, _ = checkpoints.load_online(workdir)
    tf.keras.utils.set_random_seed(settings.seed)
    initial = OnlineNetwork(**settings.network)
    test = load_data(settings).source.held_out("test")
    positions = np.flatnonzero(test.labels != NO_LABEL)
    if not len(positions):
        raise ValueError(f"--workdir must be a run whose test images have labels. Received: {workdir}")
    prepare = preparation_of(settings)
    before, after = (
        embed(network.project, test, prepare=prepare, positions=positions) for network in (initial, trained)
    )
    return before, after, test.labels[positions]


def draw(before: np.ndarray, after: np.ndarray, labels: np.ndarray, path: str | pathlib.Path) -> None:
    """Writes a PNG file of two t-SNE maps side by side, a colour per class.

    Args:
        before: `[N, D]` embeddings before training.
        after: `[N, D]` embeddings of the same images after training.
        labels: `[N]` integer classes.
        path: Path of the file; its folder is made.

    Reference: van der Maaten and Hinton 2008, Visualizing Data using t-SNE.
    """
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    for axes, embeddings, title in zip(
        figure.subplots(1, 2), (before, after), ("before training", "after training"), strict=True
    ):
        _scatter(axes, plane(embeddings), labels)
        axes.set_title(title)
    handles, names = axes.get_legend_handles_labels()
    if len(names) <= MAX_LEGEND_CLASSES:
        figure.legend(handles, names, title="class", loc="outside right center", frameon=False)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png")


def plane(embeddings: np.ndarray) -> np.ndarray:
    """Maps embeddings `[N, D]`, at least three, to points `[N, 2]` by t-SNE with cosine distances and a fixed seed."""
    perplexity = min(PERPLEXITY, (len(embeddings) - 1) / 3)
    return TSNE(perplexity=perplexity, metric="cosine", init="random", random_state=0).fit_transform(embeddings)


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    classes = np.unique(labels)
    colours = colormaps["tab10" if len(classes) <= 10 else "turbo"].resampled(max(len(classes), 10))
    for colour, label in enumerate(classes):
        x, y = points[labels == label].T
        axes.scatter(x, y, s=14, color=colours(colour), label=str(label))
    axes.set(xticks=[], yticks=[])


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    draw(*embed_test_images(run_flags.WORKDIR.value), str(model_flags.OUT.value))
    return 0


if __name__ == "__main__":
    quiet.run(main)
