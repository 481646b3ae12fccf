"""The papers' protocols to compare encoders: a classifier on top of the encoder, with settings chosen on held-out images."""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.data.images import Images
from semppl.data.pipeline import Pipeline
from semppl.data.splits import hold_out
from semppl.evaluation.features import embed, preparation_of
from semppl.evaluation.protocols import transfer
from semppl.evaluation.protocols.classifier_training import ClassifierTraining
from semppl.layers.networks import OnlineNetwork

Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The training of a protocol; every combination of a learning rate and a number of epochs is tried.

    Attributes:
        frozen: Whether the encoder's weights stay fixed.
        learning_rates: Initial learning rates.
        epochs: Numbers of passes over the training images.
        scaled: Whether the learning rates are multiplied by the batch size / 256.
    """

    frozen: bool
    learning_rates: tuple[float, ...]
    epochs: tuple[float, ...]
    scaled: bool


# References: SemPPL's official evaluation code (linear); BYOL, arXiv 2006.07733, appendix C.2 (semi_supervised).
PROTOCOLS = {
    "linear": Protocol(frozen=True, learning_rates=(0.3,), epochs=(100,), scaled=True),
    "semi_supervised": Protocol(
        frozen=False, learning_rates=(0.005, 0.01, 0.02, 0.05, 0.1), epochs=(30, 50), scaled=False
    ),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """The input of a protocol.

    Attributes:
        hyperparameters: Hyper-parameters of the run.
        network: Online network of the run, whose encoder is evaluated.
        images: Training images, all with a label.
        test: Test images, all with a label; settings are never chosen on them.
        num_classes: Number of classes, C.
        batch_size: Maximum batch size.
        held_out_share: Share of `images`, in (0, 1), that is held out to choose settings on.
        seed: Seed of the held-out images, the batches and the crops.
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
        """Splits the training images into a part to train on and a held-out part to choose settings on.

        Every class with at least two images is in both parts.

        Raises:
            ValueError: If every class has a single image.
        """
        training, held_out = hold_out(self.images, self.held_out_share, seed=self.seed, flag="held_out_share")
        if not len(held_out):
            raise ValueError(
                "--held_out_share must leave images to choose settings by, and no class has two labelled ones (with one value "
                "each of --learning_rates and --epoch_counts there is nothing to choose). Received: "
                f"{self.held_out_share} of {counted(len(self.images), 'image')}"
            )
        return self.images.select(training), self.images.select(held_out)

    def mapped(self, function: Callable[[tf.Tensor], tf.Tensor], images: Images) -> np.ndarray:
        """Maps n images, prepared as in evaluation, through a network: `[n, …]`."""
        return embed(function, images, prepare=preparation_of(self.hyperparameters))


def train_classifier(task: Task, protocol: Protocol) -> Report:
    """Chooses learning rate and epochs on held-out images, trains with these on all images, and evaluates on the test images.

    Raises:
        ValueError: If no class has an image to hold out, or the loss becomes NaN or Inf.
    """
    cells = list(itertools.product(protocol.learning_rates, protocol.epochs))
    size, channels = task.hyperparameters.large_size, task.hyperparameters.channels
    features = task.network.features(tf.zeros([1, size, size, channels])).shape[-1]
    training = ClassifierTraining(task.network, features=features, num_classes=task.num_classes, frozen=protocol.frozen)
    scores: dict[tuple[float, float], float] = {}
    if len(cells) > 1:
        part, held_out = task.parts()
        for cell in cells:
            loss = _fit(training, task, part, *cell, scaled=protocol.scaled)
            scores[cell] = _accuracy(training, task, held_out) if math.isfinite(loss) else 0.0
            _say(f"learning rate {cell[0]:g}, {cell[1]:g} epochs: {scores[cell]:.4f} on {len(held_out)} held out")
    rate, epochs = max(cells, key=lambda cell: scores.get(cell, 0.0))  # the first of the best
    loss = _fit(training, task, task.images, rate, epochs, scaled=protocol.scaled)
    if not math.isfinite(loss):
        raise ValueError(f"--learning_rates must be low enough for a finite loss. Received: {rate:g}")
    return {
        "accuracy": _accuracy(training, task, task.test),
        "chosen": {"learning_rate": rate, "epochs": epochs},
        "held_out": [
            {"learning_rate": rate, "epochs": epochs, "accuracy": score} for (rate, epochs), score in scores.items()
        ],
    }


def transfer_features(task: Task) -> Report:
    """Chooses the L2 strength of logistic regression on held-out images, fits it on all images, and evaluates on the test set.

    Raises:
        ValueError: If all training images are of one class, or every class has a single image.
    """
    if len(np.unique(task.images.labels)) < 2:
        raise ValueError(
            "--protocol must not be transfer where all labels are of one class (semppl-evaluate reports the other evaluators). "
            f"Received: {counted(len(task.images), 'image')} of one class"
        )
    part, held_out = task.parts()
    held_out_features, test_features = (task.mapped(task.network.features, images) for images in (held_out, task.test))
    features = task.mapped(task.network.features, part)
    strength, scores = transfer.choose_strength(features, part.labels, held_out_features, held_out.labels)
    everything, labels = np.concatenate([features, held_out_features]), np.concatenate([part.labels, held_out.labels])
    classes = transfer.classes_of(everything, labels, test_features, strength=strength)
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
    """Trains from the initial weights on random crops, which are mirrored with probability ½; returns the last loss."""
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
