"""The images of a run's data set: labelled images to remember, held-out images to measure on."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, Images
from semppl.data.run_data import load_run_data
from semppl.data.views.recipes import find_recipe
from semppl.evaluation.features import embed as map_images
from semppl.evaluation.logistic_regression import Moments
from semppl.export.memory.calibration import CalibrationSettings
from semppl.export.memory.embedded_images import EmbeddedImages
from semppl.export.memory.evidence import Evidence
from semppl.export.memory.memory_views import mean_direction, random_view
from semppl.export.memory.ood_score import OodScore, fit_ood_score

_MAX_HELD_OUT = 10_000
_MAX_REFERENCE = 4_000
_MAX_POPULATION = 1_000
_MIN_REFERENCE = 100
_BATCH = 256
_NAMES = {"train": "labelled pictures", "held_out": "held-out pictures", "all": "training pictures"}
"""Names of the images of each part, before a progress bar."""


class RunImages:
    """Reads and embeds the images of a run's data set.

    Args:
        workdir: Folder of the run.
        hyperparameters: Hyper-parameters of the run.
        prepare: Function from source images `[B, H, W, C]` to the model's input.
        fingerprints: Function from source images `[B, H, W, C]` to int64 `[B]` hashes, equal for copies.
        moved: Settings, by name, of data that now lie elsewhere; see `load_run_data`.

    Raises:
        ValueError: if the data set cannot be read.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        hyperparameters: Hyperparameters,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        fingerprints: Callable[[tf.Tensor], tf.Tensor],
        moved: Mapping[str, Any] | None = None,
    ) -> None:
        data = load_run_data(workdir, hyperparameters, moved)
        source = data.source
        self._hyperparameters, self._prepare, self._fingerprints = hyperparameters, prepare, fingerprints
        self._prints: dict[str, np.ndarray] = {}
        self._train, self._class_names = source.train, source.class_names
        self._held_out = source.test if source.validation is None else source.validation
        self._split = "test" if source.validation is None else "validation"
        self._labels = data.labels

    def evidence(
        self, embed: Callable[[tf.Tensor], tf.Tensor], settings: CalibrationSettings, *, views: int = 1
    ) -> Evidence:
        """Embeds the labelled images of the run, and a sample of its held-out images.

        The held-out images are the run's validation images; its test images, if it has no validation images.

        Args:
            embed: Function from prepared images `[B, h, w, C]` to unit-norm embeddings `[B, D]`.
            settings: Calibration settings.
            views: Number of views whose mean embedding stands for a labelled image: the image as evaluation prepares it, and
                random large views of the run's recipe.
        """
        labelled = np.flatnonzero(self._labels != NO_LABEL)
        names = self._train.names
        memory = self._embedded("train", self._train, labelled, self._labels, embed, views)
        held_out = memory.take(np.zeros(0, int))
        if self._held_out is not None:
            sample = _sample(np.flatnonzero(self._held_out.labels != NO_LABEL), _MAX_HELD_OUT)
            held_out = self._embedded("held_out", self._held_out, sample, self._held_out.labels, embed)
            held_out = dataclasses.replace(held_out, ids=np.full(len(sample), -1))
        sample = self._mapped(embed, self._train, _sample(np.arange(len(self._labels)), _MAX_POPULATION), _NAMES["all"])
        return Evidence(
            memory,
            held_out,
            self._class_names,
            self._hyperparameters.temperature,
            settings,
            views=views,
            population=Moments.of(sample),
            split=self._split,
            paths={int(at): names[at] for at in labelled if names and names[at]},
        )

    def ood_score(self, encode: Callable[[tf.Tensor], tf.Tensor]) -> tuple[OodScore, dict[str, Any]]:
        """Fits an out-of-distribution score to a sample of the training images: unlabelled ones, if there are enough.

        Args:
            encode: Function from prepared images `[B, h, w, C]` to features `[B, F]`.

        Returns:
            The score, and a report of it: the number of images that it was fitted on and, if there are held-out images, the
            share of these above the 95th percentile.
        """
        unlabelled = np.flatnonzero(self._labels == NO_LABEL)
        few = len(unlabelled) < min(_MIN_REFERENCE, len(self._labels))
        positions = _sample(np.arange(len(self._labels)) if few else unlabelled, _MAX_REFERENCE)
        score = fit_ood_score(self._mapped(encode, self._train, positions, _NAMES["all"]))
        report: dict[str, Any] = {"fitted_on": len(positions)}
        if self._held_out is not None:
            checks = _sample(np.arange(len(self._held_out.labels)), _MAX_REFERENCE)
            ood = score.percentile(tf.constant(self._mapped(encode, self._held_out, checks, _NAMES["held_out"])))["ood"]
            report |= {"checked_on": len(checks), "above_95": float(np.mean(ood.numpy() > 95))}
        return score, report

    def _mapped(
        self,
        function: Callable[[tf.Tensor], tf.Tensor],
        images: Images,
        positions: np.ndarray,
        name: str,
        view: int = 0,
    ) -> np.ndarray:
        """Maps a view of images through a function; see `memory_views.random_view`."""
        prepare = self._prepare
        if view:
            prepare = functools.partial(random_view, hyperparameters=self._hyperparameters, number=view)
        return map_images(function, images, prepare=prepare, batch_size=_BATCH, positions=positions, name=name)

    def _embedded(
        self,
        part: str,
        images: Images,
        positions: np.ndarray,
        labels: np.ndarray,
        embed: Callable[[tf.Tensor], tf.Tensor],
        views: int = 1,
    ) -> EmbeddedImages:
        if part not in self._prints:  # fingerprints do not depend on `embed`, and cost a pass over the pictures
            batches = images.batches(self._fingerprints, batch_size=_BATCH, positions=positions)
            self._prints[part] = np.concatenate([np.zeros(0, np.int64), *(batch.numpy() for batch in batches)])
        groups = positions if images.groups is None else images.groups[positions]
        embeddings = mean_direction(
            [self._mapped(embed, images, positions, _NAMES[part], view) for view in range(views)]
        )
        return EmbeddedImages(embeddings, labels[positions], positions, groups, self._prints[part])


def centre_crop_of(hyperparameters: Hyperparameters) -> float:
    """Returns the share of an image's shorter side that a run's recipe takes, from the centre, in evaluation and serving."""
    return find_recipe(hyperparameters.recipe).centre_crop


def _sample(positions: np.ndarray, count: int) -> np.ndarray:
    """Draws at most `count` of `[n]` positions with a fixed seed, and sorts them."""
    return np.sort(np.random.default_rng(0).permutation(positions)[:count])
