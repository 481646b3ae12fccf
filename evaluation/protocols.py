"""The papers' ways to compare encoders: what is trained on top of one, and how its settings are chosen."""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import Images
from semppl.data.pipeline import Pipeline
from semppl.data.splits import hold_out
from semppl.evaluation import transfer
from semppl.evaluation.classifier_training import ClassifierTraining
from semppl.evaluation.features import embed, preparation_of
from semppl.layers.networks import OnlineNetwork

Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What a protocol trains, and how; lists are tried in every combination.

    Attributes:
        frozen: whether the encoder stays as it is.
        learning_rates: of the first step.
        epochs: passes over the images.
        scaled: whether the learning rates are for a batch of 256, and scaled by batch / 256.
    """

    frozen: bool
    learning_rates: tuple[float, ...]
    epochs: tuple[float, ...]
    scaled: bool


# Of method.md's references, the official evaluation (linear) and appendix C.2 of BYOL, arXiv 2006.07733 (semi_supervised).
PROTOCOLS = {
    "linear": Protocol(frozen=True, learning_rates=(0.3,), epochs=(100,), scaled=True),
    "semi_supervised": Protocol(
        frozen=False, learning_rates=(0.005, 0.01, 0.02, 0.05, 0.1), epochs=(30, 50), scaled=False
    ),
}
TRANSFER = "transfer"


@dataclasses.dataclass(frozen=True)
class Task:
    """What a protocol is given.

    Attributes:
        hyperparameters: of the run.
        network: its encoder.
        images: to train on, all with a label.
        test: to judge by, all with a label; settings are never chosen on them.
        num_classes: C.
        batch_size: images a step, at most.
        held_out_share: of `images`, to choose settings on.
        seed: of what is held out, of batches and of crops.
    """

    hyperparameters: Hyperparameters
    network: OnlineNetwork
    images: Images
    test: Images
    num_classes: int
    batch_size: int = 1024
    held_out_share: float = 0.2
    seed: int = 0

    def parts(self) -> tuple[Images, Images]:
        """Returns the training images in two: to train on, and to choose settings on, some of every class that has two.

        Raises:
            ValueError: if no class has two.
        """
        kept, held_out = hold_out(self.images, self.held_out_share, seed=self.seed, flag="held_out_share")
        if not len(held_out):
            raise ValueError(
                "--held_out_share must leave images to choose settings by, and no class has two labelled ones (with one value "
                "each of --learning_rates and --epoch_counts there is nothing to choose). Received: "
                f"{self.held_out_share} of {len(self.images)} images"
            )
        return self.images.select(kept), self.images.select(held_out)

    def mapped(self, function: Callable[[tf.Tensor], tf.Tensor], images: Images) -> np.ndarray:
        """Runs a network over images as they are tested: `[n, …]`."""
        return embed(function, images, prepare=preparation_of(self.hyperparameters))


def train_classifier(task: Task, protocol: Protocol) -> Report:
    """Trains with every combination of settings on a part of the images, with the best on all of them, and tests that.

    Raises:
        ValueError: if there is nothing to choose settings by, or the loss is no longer a number.
    """
    cells = list(itertools.product(protocol.learning_rates, protocol.epochs))
    size, channels = task.hyperparameters.large_size, task.hyperparameters.channels
    features = task.network.features(tf.zeros([1, size, size, channels])).shape[-1]
    training = ClassifierTraining(task.network, features=features, num_classes=task.num_classes, frozen=protocol.frozen)
    scores: dict[tuple[float, float], float] = {}
    if len(cells) > 1:
        kept, held_out = task.parts()
        for cell in cells:
            loss = _fit(training, task, kept, *cell, scaled=protocol.scaled)
            scores[cell] = _accuracy(training, task, held_out) if math.isfinite(loss) else 0.0
            _say(f"learning rate {cell[0]:g}, {cell[1]:g} epochs: {scores[cell]:.4f} on {len(held_out)} held out")
    rate, epochs = max(cells, key=lambda cell: scores.get(cell, 0.0))  # of equals the first
    loss = _fit(training, task, task.images, rate, epochs, scaled=protocol.scaled)
    if not math.isfinite(loss):
        raise ValueError(f"--learning_rates must be low enough for a loss that is a number. Received: {rate:g}")
    return {
        "accuracy": _accuracy(training, task, task.test),
        "chosen": {"learning_rate": rate, "epochs": epochs},
        "held_out": [
            {"learning_rate": rate, "epochs": epochs, "accuracy": score} for (rate, epochs), score in scores.items()
        ],
    }


def transfer_features(task: Task) -> Report:
    """Fits logistic regressions on frozen features of a part of the images, the best strength on all, and tests that."""
    kept, held_out = task.parts()
    chosen_on, judged_by = (task.mapped(task.network.features, images) for images in (held_out, task.test))
    features = task.mapped(task.network.features, kept)
    strength, scores = transfer.choose_strength(features, kept.labels, chosen_on, held_out.labels)
    everything, labels = np.concatenate([features, chosen_on]), np.concatenate([kept.labels, held_out.labels])
    classes = transfer.classes_of(everything, labels, judged_by, strength=strength)
    return {
        "accuracy": float(np.mean(classes == task.test.labels)),
        "chosen": {"l2_strength": strength},
        "held_out": [
            {"l2_strength": float(strength), "accuracy": score}
            for strength, score in zip(transfer.L2_STRENGTHS, scores, strict=True)
        ],
    }


def _fit(
    training: ClassifierTraining, task: Task, images: Images, rate: float, epochs: float, *, scaled: bool
) -> float:
    """Trains from the start, on random crops of the images, mirrored or not; returns the last loss."""
    size = min(task.batch_size, len(images))
    steps = max(1, round(epochs * len(images) / size))
    settings = dataclasses.replace(
        task.hyperparameters,
        large_views=1,
        small_views=0,
        mask_probability=0.0,
        seed=task.seed,
        steps=steps,
        batch_size=size,
        labelled_batch_size=size,
        queue_size=0,
        negatives=1,
        neighbours=1,
        accumulate_steps=1,
        class_balance=False,
    )
    crops = Pipeline(images, images.labels, settings, finish_on_device=True).batches(first_step=0)
    batches = crops.map(lambda batch: {"images": batch["large"][0], "labels": batch["labels"]})
    return training.fit(batches, steps=steps, learning_rate=rate * size / 256 if scaled else rate)


def _accuracy(training: ClassifierTraining, task: Task, images: Images) -> float:
    return float(np.mean(task.mapped(training.logits, images).argmax(-1) == images.labels))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
