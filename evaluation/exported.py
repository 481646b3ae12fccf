"""Evaluation of an exported model: the answers that it serves, on held-out images."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.combination import renumbered, with_labels
from semppl.data.images import NO_LABEL, Images
from semppl.data.splits import load_held_out, load_splits
from semppl.evaluation.results.classes import class_lines, class_report
from semppl.evaluation.results.measures import MEASURES, MORE_MEASURES
from semppl.runs.files import require_plain
from semppl.runs.served_models import version_meant

_BATCH = 64


def evaluate_model(
    model: str | pathlib.Path, *, split: str = "test", moved: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Evaluates the answers of an exported model on held-out images.

    Images are decoded by this process as for training; the model crops and resizes them.

    Args:
        model: Folder of an exported model with a memory.
        split: "test" or "validation", of the data of the model's run, unless `moved` has a "test".
        moved: Settings, by name, of data that lie elsewhere than those of the model's run; "test" is a source of images to judge
            by.

    Returns:
        "images", "accuracy", "balanced_accuracy", "cohen_kappa" and "macro_f1" of all answers, "coverage" (the share that the
        model does not abstain from), "risk" (the share of wrong answers among these, if any), and "classes", as in the evaluation
        of a run.

    Raises:
        ValueError: If the folder has no model with a memory, the images cannot be read, or none has a label.
    """
    settings, class_names = read_model(model)
    places = dict(moved or {})
    test = places.pop("test", "")
    settings = dataclasses.replace(settings, **places)
    images = load_held_out(settings, test, class_names) if test else _of_run(settings, split, class_names)
    known = np.flatnonzero(images.labels != NO_LABEL)
    if not len(known):
        raise ValueError(
            f"--{split} must have labels to judge by. Received: {counted(len(images), 'image')}, none with a label"
        )
    answers = _answers(tf.saved_model.load(str(model)), images, known)
    truth, label, abstain = images.labels[known], answers["label"], answers["abstain"]
    report: dict[str, Any] = {"images": len(known)}
    report |= {measure: function(label, truth) for measure, function in (MEASURES | MORE_MEASURES).items()}
    report["coverage"] = float(np.mean(~abstain))
    if not abstain.all():
        report["risk"] = float(np.mean(label[~abstain] != truth[~abstain]))
    return report | {"classes": {"of": "the model's answers"} | class_report(label, truth, class_names)}


def read_model(model: str | pathlib.Path) -> tuple[Hyperparameters, tuple[str, ...]]:
    """Reads the settings of an exported model's run, and the names of the model's classes.

    Raises:
        ValueError: If the folder has no model with a memory.
    """
    card, names = read_card(model), pathlib.Path(model) / "assets" / "class_names.txt"
    class_names = tuple(names.read_text(encoding="utf-8").split("\n")[:-1])
    return Hyperparameters.from_dict(card["hyperparameters"]), class_names


def read_card(model: str | pathlib.Path) -> dict[str, Any]:
    """Reads the model card of an exported model.

    Raises:
        ValueError: If the folder has no model with a memory.
    """
    folder = pathlib.Path(model)
    require_plain(folder, "model")
    card, names = (folder / "assets" / name for name in ("model_card.json", "class_names.txt"))
    if not card.is_file() or not names.is_file():
        raise ValueError(
            f"--model must be the folder of an exported model with a memory. Received: {model}{version_meant(model)}"
        )
    return dict(json.loads(card.read_text(encoding="utf-8")))


def embedded_images(model: Any, images: Images, positions: np.ndarray | None = None) -> Iterator[tf.Tensor]:
    """Yields the embeddings `[B, D]` of images by a loaded model, a batch at a time; None: of all images."""

    def embed(batch: tf.Tensor) -> tf.Tensor:
        return model.signatures["embed_images"](images=tf.image.convert_image_dtype(batch, tf.float32))["embedding"]

    yield from images.batches(embed, batch_size=_BATCH, positions=positions)


def report_lines(report: dict[str, Any]) -> list[str]:
    """Formats a report of `evaluate_model`."""
    line = f"on {counted(report['images'], 'image')}: accuracy {report['accuracy']:.4f}, "
    line += f"balanced {report['balanced_accuracy']:.4f}; "
    line += f"answers {report['coverage']:.1%}"
    if "risk" in report:
        line += f" of them, {report['risk']:.1%} of those wrong"
    return [line, "", *class_lines(report["classes"])]


def _of_run(settings: Hyperparameters, split: str, class_names: tuple[str, ...]) -> Images:
    """Returns a split of the run's data, with labels that count in the model's classes."""
    source = load_splits(settings)
    images = source.held_out(split)
    return with_labels(images, renumbered(images.labels, source.class_names, class_names))


def _answers(model: Any, images: Images, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the outputs of `classify_embeddings` for images at positions."""
    parts = [
        model.signatures["classify_embeddings"](embedding=batch) for batch in embedded_images(model, images, positions)
    ]
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in ("label", "abstain")}
