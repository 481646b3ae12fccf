"""Reads what a run knows of its data set: the images that it may remember, and images to be judged by."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, Images
from semppl.data.splits import load_data
from semppl.data.views.recipes import find_recipe
from semppl.export.memory.evidence import CalibrationSettings, EmbeddedImages, Evidence
from semppl.export.memory.ood_score import Strangeness, fit_strangeness

_MAX_HELD_OUT = 10_000
_MAX_REFERENCE = 4_000
_MIN_REFERENCE = 100
_BATCH = 256


class RunImages:
    """The images of a run's data set, some of them embedded.

    Args:
        hyperparameters: of the run.
        prepare: maps images as they are to what `embed` takes.
        fingerprints: maps images as they are to `[B]` int64, equal for copies.

    Raises:
        ValueError: if the data are not where the run found them.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        fingerprints: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        data = load_data(hyperparameters)
        source = data.source
        self._temperature, self._prepare, self._fingerprints = hyperparameters.temperature, prepare, fingerprints
        self._prints: dict[str, np.ndarray] = {}
        self._train, self._class_names = source.train, source.class_names
        self._held_out = source.test if source.validation is None else source.validation
        self._labels = data.labels

    def evidence(self, embed: Callable[[tf.Tensor], tf.Tensor], trust: CalibrationSettings) -> Evidence:
        """Embeds the labelled images of the run, and a sample of those that it held out.

        Held out are its validation images where it has some, else its test images, else none.

        Args:
            embed: maps prepared images `[B, h, w, C]` to unit-norm `[B, D]`.
            trust: how answers are to be trusted.
        """
        ids = np.flatnonzero(self._labels != NO_LABEL)
        memory = self._embedded("train", self._train, ids, self._labels, embed)
        unseen = memory.take(np.zeros(0, int))
        if self._held_out is not None:
            ids = _sample(np.flatnonzero(self._held_out.labels != NO_LABEL), _MAX_HELD_OUT)
            unseen = self._embedded("held_out", self._held_out, ids, self._held_out.labels, embed)
            unseen = dataclasses.replace(unseen, ids=np.full(len(ids), -1))
        return Evidence(memory, unseen, self._class_names, self._temperature, trust)

    def strangeness(self, encode: Callable[[tf.Tensor], tf.Tensor]) -> tuple[Strangeness, dict[str, Any]]:
        """Fits to a sample of the training images, those without labels where there are enough of them.

        Args:
            encode: maps prepared images `[B, h, w, C]` to features `[B, F]`.

        Returns:
            The ranking, and what is known of it: how many images it was fitted to, and, where images were held out, the share of
            them above the 95th percentile.
        """
        unlabelled = np.flatnonzero(self._labels == NO_LABEL)
        few = len(unlabelled) < min(_MIN_REFERENCE, len(self._labels))
        ids = _sample(np.arange(len(self._labels)) if few else unlabelled, _MAX_REFERENCE)
        strangeness = fit_strangeness(self._mapped(encode, self._train, ids))
        report: dict[str, Any] = {"fitted_on": len(ids)}
        if self._held_out is not None:
            checks = _sample(np.arange(len(self._held_out.labels)), _MAX_REFERENCE)
            ood = strangeness.percentile(tf.constant(self._mapped(encode, self._held_out, checks)))["ood"]
            report |= {"checked_on": len(checks), "above_95": float(np.mean(ood.numpy() > 95))}
        return strangeness, report

    def _mapped(self, function: Callable[[tf.Tensor], tf.Tensor], images: Images, ids: np.ndarray) -> np.ndarray:
        mapped = tf.function(function, reduce_retracing=True, autograph=False)
        parts = images.batches(self._prepare, batch_size=_BATCH, positions=ids)
        return np.concatenate([mapped(part).numpy() for part in parts])

    def _embedded(
        self, part: str, images: Images, ids: np.ndarray, labels: np.ndarray, embed: Callable[[tf.Tensor], tf.Tensor]
    ) -> EmbeddedImages:
        if part not in self._prints:  # the same whatever embeds them, and a pass over the pictures
            prints = images.batches(self._fingerprints, batch_size=_BATCH, positions=ids)
            self._prints[part] = np.concatenate([np.zeros(0, np.int64), *(some.numpy() for some in prints)])
        groups = ids if images.groups is None else images.groups[ids]
        return EmbeddedImages(self._mapped(embed, images, ids), labels[ids], ids, groups, self._prints[part])


def centre_crop_of(hyperparameters: Hyperparameters) -> float:
    """Returns the share of an image's shorter side that a run's recipe takes, from the centre, in evaluation and serving."""
    return find_recipe(hyperparameters.recipe).centre_crop


def _sample(ids: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `[n]` ids, the same every time, in order."""
    return np.sort(np.random.default_rng(0).permutation(ids)[:count])
