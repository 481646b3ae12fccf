"""Evidence: the embedded images from which a labelled memory is built and calibrated."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.choices import ANSWERS, AUTO, VOTE
from semppl.evaluation.logistic_regression import Moments
from semppl.export.memory import calibration
from semppl.export.memory.answers import Answerer, is_affordable
from semppl.export.memory.calibration import Calibration, CalibrationSettings
from semppl.export.memory.embedded_images import FIRST_ADDED_ID, EmbeddedImages
from semppl.export.memory.judgement import HELD_OUT, Judged, describe_abstention, measured
from semppl.export.memory.labelled_memory import LabelledMemory, class_probabilities

_ROWS = 1024
_MAX_FITTED = 5_000


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Embedded images and settings, stored beside a model so that its memory can be rebuilt with more labels.

    Attributes:
        memory: Labelled training images and added pictures, which vote.
        held_out: Labelled images that were not trained on; may be empty.
        class_names: Names of the `C` classes.
        temperature: Temperature of the vote if none can be fitted.
        settings: Calibration settings.
        answers: How the memory answers, one of `ANSWERS`.
        views: Number of views whose mean embedding stands for an image of the memory.
        population: Moments of embeddings of the training images; None in files of older versions.
        split: What the held-out images are: "test" or "validation"; "held-out" in files of older versions.
        paths: Paths of images of the memory by their identifiers; of those that have one.
    """

    memory: EmbeddedImages
    held_out: EmbeddedImages
    class_names: tuple[str, ...]
    temperature: float
    settings: CalibrationSettings
    answers: str = VOTE
    views: int = 1
    population: Moments | None = None
    split: str = HELD_OUT
    paths: dict[int, str] = dataclasses.field(default_factory=dict)

    def save(self, path: pathlib.Path) -> None:
        """Writes the evidence as a `.npz` file."""
        images = {f"{part}_{name}": getattr(getattr(self, part), name) for part in _PARTS for name in _FIELDS}
        with path.open("wb") as file:
            np.savez(
                file,
                class_names=np.array(self.class_names, np.str_),
                temperature=self.temperature,
                answers=self.answers,
                views=self.views,
                split=self.split,
                path_ids=np.array(list(self.paths), np.int64),
                paths=np.array([os.fsencode(path) for path in self.paths.values()], np.bytes_),
                **images,
                **{f"population_{name}": value for name, value in (self.population or _NO_MOMENTS)._asdict().items()},
                **{f"trust_{name}": value for name, value in dataclasses.asdict(self.settings).items()},
            )

    @classmethod
    def load(cls, path: pathlib.Path) -> "Evidence":
        """Reads a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            memory, held_out = (EmbeddedImages(*(_field(arrays, part, name) for name in _FIELDS)) for part in _PARTS)
            names = [field.name for field in dataclasses.fields(CalibrationSettings)]
            settings = CalibrationSettings(
                **{name: arrays[f"trust_{name}"].item() for name in names if f"trust_{name}" in arrays}
            )
            class_names = tuple(str(name) for name in arrays["class_names"])
            evidence = cls(memory, held_out, class_names, float(arrays["temperature"]), settings)
            if "answers" not in arrays:
                return evidence
            population = Moments(*(arrays[f"population_{name}"] for name in Moments._fields))
            return dataclasses.replace(
                evidence,
                answers=str(arrays["answers"]),
                views=int(arrays["views"]),
                population=population if len(population.mean) else None,
                split=str(arrays["split"]) if "split" in arrays else HELD_OUT,
                paths=_paths(arrays),
            )

    def build(self) -> tuple[LabelledMemory, dict[str, Any]]:
        """Builds and calibrates the memory.

        Returns:
            The memory, and a report of it: numbers of images, settings, fitted parameters, and measurements on images to which
            nothing was fitted.
        """
        fitted_images, checks = self._parts()
        answerer = self._answerer(self.answers)
        fitted, calibrating = self._calibrate(fitted_images, answerer)
        judged = Judged.of(self._probabilities(checks, answerer, fitted.temperature), checks.labels)
        voters = None if self.answers == VOTE else answerer.voters
        memory = LabelledMemory(
            self.memory.embeddings, self.memory.labels, self.memory.ids, self.class_names, fitted, voters
        )
        report = {
            "labelled": len(self.memory),
            "classes": len(self.class_names),
            "answers": self.answers,
            "views": self.views,
            "trust": dataclasses.asdict(self.settings),
            "fitted_on": len(calibrating.correct),
            **{name: round(value, 6) for name, value in fitted._asdict().items()},
            "held_out_images": self.split,
            "checked_on": len(checks),
            "measured": measured(judged, fitted),
        }
        return memory, report | describe_abstention(report, calibrating, judged, self.settings)

    def compare_answers(self) -> dict[str, Any]:
        """Measures what each way to answer would give.

        Returns:
            The accuracy of each way on `images` images of the set `measured_on`: held-out images to which nothing was fitted,
            or, if there are none, the labelled images, each judged by others. Ways that would take long to fit are left out.
        """
        fitted, checks = self._parts()
        on_labelled = not len(checks)
        if on_labelled:
            fitted = checks = self._judged()
        return {
            "measured_on": "labelled" if on_labelled else "held_out",
            "images": len(checks),
            "accuracy": {answers: round(value, 6) for answers, value in self._accuracies(fitted, checks).items()},
        }

    def answering(self, answers: str) -> "Evidence":
        """Returns the evidence with another way to answer, one of `ANSWERS`, or the best of these with `AUTO`."""
        return dataclasses.replace(self, answers=self.best_answers() if answers == AUTO else answers)

    def best_answers(self) -> str:
        """Returns the most accurate of `ANSWERS`; the first in a tie, or without an image to judge by.

        Accuracy is measured on the images that the memory is calibrated on, or, if there are none, on the labelled images, each
        judged by the others.
        """
        fitted, _ = self._parts()
        images = fitted if len(fitted) else self._judged()
        accuracies = self._accuracies(images, images)
        return max(accuracies, key=accuracies.__getitem__, default=VOTE)

    def _judged(self) -> EmbeddedImages:
        """Returns labelled images that others of their class can judge."""
        images = self.memory.take(np.random.default_rng(0).permutation(len(self.memory))[:_MAX_FITTED])
        agree = images.labels[:, np.newaxis] == self.memory.labels
        return images.take(np.any(agree & ~self._barred(images), axis=1))

    def _accuracies(self, fitted: EmbeddedImages, checks: EmbeddedImages) -> dict[str, float]:
        """Calibrates each way to answer, and measures its accuracy; empty if there is nothing to measure on."""
        accuracies = {}
        for answers in (name for name in ANSWERS if len(checks) and is_affordable(name, self.memory)):
            answerer = self._answerer(answers)
            temperature = self._calibrate(fitted, answerer)[0].temperature
            correct = self._probabilities(checks, answerer, temperature).argmax(1) == checks.labels
            accuracies[answers] = float(np.mean(correct))
        return accuracies

    def _answerer(self, answers: str) -> Answerer:
        return Answerer(answers, self.memory, self.population)

    def _calibrate(self, images: EmbeddedImages, answerer: Answerer) -> tuple[Calibration, Judged]:
        """Fits temperature and thresholds; returns these and the answers to the images that were used."""
        scores = answerer.scores(images, self._barred(images))
        agree = images.labels[:, np.newaxis] == answerer.voters.classes
        has_voter = np.any(agree & np.isfinite(scores), axis=1)  # false for the only image of its class
        if not has_voter.any():
            nothing = Judged.of(np.zeros([0, len(self.class_names)]), np.zeros(0, np.int32))
            return Calibration(answerer.temperature or self.temperature, 0.0, 0.0), nothing
        temperature = calibration.fit_temperature(scores[has_voter], agree[has_voter])
        # A held-out image of a class without a remembered image counts as an error.
        used = has_voter | ~np.isin(images.labels, self.memory.labels)
        judged = Judged.of(self._class_probabilities(scores[used], answerer, temperature), images.labels[used])
        sets = calibration.set_threshold(judged.true_probabilities, self.settings.set_coverage)
        threshold = calibration.abstention_threshold(judged.confidences, judged.correct, self.settings)
        return Calibration(temperature, threshold, float(calibration.lowered(sets))), judged

    def compare(self, exact: "Evidence") -> dict[str, float]:
        """Measures the cost of coarser weights.

        Args:
            exact: Evidence of the same images, embedded in float32.

        Returns:
            Mean and least similarity of the held-out images' embeddings to the exact ones, the accuracy in float32 and the loss
            of accuracy; empty if there are no held-out images to measure on.
        """
        cost = self.loss_of_accuracy(exact, "accuracy_in_float32")
        if not cost:
            return {}
        similarities = np.sum(self.held_out.embeddings * exact.held_out.embeddings, axis=1)
        return {"mean_similarity": float(similarities.mean()), "least_similarity": float(similarities.min())} | cost

    def loss_of_accuracy(self, better: "Evidence", name: str) -> dict[str, float]:
        """Measures the loss of accuracy against better embeddings of the same images, on held-out images that were not fitted.

        Args:
            better: Evidence of the same images, embedded otherwise.
            name: Key under which the accuracy of `better` is returned.

        Returns:
            The accuracy of `better`, and `loss_of_accuracy`; empty if there are no held-out images to measure on.
        """
        ours, theirs = (evidence.build()[1]["measured"].get("accuracy") for evidence in (self, better))
        return {} if ours is None else {name: theirs, "loss_of_accuracy": theirs - ours}

    def _parts(self) -> tuple[EmbeddedImages, EmbeddedImages]:
        """Returns the images to fit and the images to measure; a group is never divided between the two."""
        rng = np.random.default_rng(0)
        if self.settings.calibrate_on == "memory":
            return self.memory.take(rng.permutation(len(self.memory))[:_MAX_FITTED]), self.held_out
        if self.settings.calibrate_on == "nothing":
            return self.held_out.take(np.zeros(0, int)), self.held_out
        order = rng.permutation(len(self.held_out))
        groups = self.held_out.groups[order]
        rank = {group: number for number, group in enumerate(dict.fromkeys(groups.tolist()))}
        is_even = np.array([rank[group] % 2 == 0 for group in groups.tolist()], bool)
        return self.held_out.take(order[is_even]), self.held_out.take(order[~is_even])

    def _similarities(self, images: EmbeddedImages) -> np.ndarray:
        """Returns `[n, M]` similarities to the memory: minus infinity where an entry must not vote."""
        return self._answerer(VOTE).scores(images, self._barred(images))

    def _barred(self, images: EmbeddedImages) -> np.ndarray:
        """Returns bool `[n, M]`, true where an entry must not vote: for an image of its group, or for an image that it copies."""
        is_remembered = images.ids >= 0
        barred: np.ndarray = is_remembered[:, np.newaxis] & (images.groups[:, np.newaxis] == self.memory.groups)
        added = np.flatnonzero(self.memory.ids >= FIRST_ADDED_ID)
        barred[:, added] |= images.copies(self.memory.take(added))
        return barred

    def _probabilities(self, images: EmbeddedImages, answerer: Answerer, temperature: float) -> np.ndarray:
        """Returns `[n, C]` class probabilities."""
        return self._class_probabilities(answerer.scores(images, self._barred(images)), answerer, temperature)

    def _class_probabilities(self, scores: np.ndarray, answerer: Answerer, temperature: float) -> np.ndarray:
        """Returns `[n, C]` class probabilities of scores `[n, R]`, computed by the function that is served."""
        parts = [
            class_probabilities(
                tf.constant(scores[first : first + _ROWS]),
                tf.constant(answerer.voters.classes),
                len(self.class_names),
                temperature=np.float32(temperature),
            ).numpy()
            for first in range(0, len(scores), _ROWS)
        ]
        return np.concatenate([np.zeros([0, len(self.class_names)], np.float32), *parts])


_PARTS = ("memory", "held_out")

_NO_MOMENTS = Moments(np.zeros(0), np.zeros(0))

_FIELDS = tuple(field.name for field in dataclasses.fields(EmbeddedImages))


def _paths(arrays: Any) -> dict[int, str]:
    if "paths" not in arrays:  # of an older version
        return {}
    return dict(zip(arrays["path_ids"].tolist(), map(os.fsdecode, arrays["paths"].tolist()), strict=True))


def _field(arrays: Any, part: str, name: str) -> np.ndarray:
    """Reads a field; files of older versions have neither groups (each image is one) nor fingerprints."""
    if name == "groups" and f"{part}_groups" not in arrays:
        ids: np.ndarray = arrays[f"{part}_ids"]
        return ids if part == "memory" else np.arange(len(ids))
    if name == "fingerprints" and f"{part}_fingerprints" not in arrays:
        return np.zeros(len(arrays[f"{part}_ids"]), np.int64)
    value: np.ndarray = arrays[f"{part}_{name}"]
    return value
