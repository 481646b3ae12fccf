"""Evidence: the embedded images from which a labelled memory is built and calibrated."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.export.memory import calibration
from semppl.export.memory.calibration import Calibration, CalibrationSettings
from semppl.export.memory.embedded_images import FIRST_ADDED_ID, EmbeddedImages
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
    """

    memory: EmbeddedImages
    held_out: EmbeddedImages
    class_names: tuple[str, ...]
    temperature: float
    settings: CalibrationSettings

    def save(self, path: pathlib.Path) -> None:
        """Writes the evidence as a `.npz` file."""
        images = {f"{part}_{name}": getattr(getattr(self, part), name) for part in _PARTS for name in _FIELDS}
        with path.open("wb") as file:
            np.savez(
                file,
                class_names=np.array(self.class_names, np.str_),
                temperature=self.temperature,
                **images,
                **{f"trust_{name}": value for name, value in dataclasses.asdict(self.settings).items()},
            )

    @classmethod
    def load(cls, path: pathlib.Path) -> "Evidence":
        """Reads a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            memory, held_out = (EmbeddedImages(*(_field(arrays, part, name) for name in _FIELDS)) for part in _PARTS)
            names = [field.name for field in dataclasses.fields(CalibrationSettings)]
            settings = CalibrationSettings(**{name: arrays[f"trust_{name}"].item() for name in names})
            class_names = tuple(str(name) for name in arrays["class_names"])
            return cls(memory, held_out, class_names, float(arrays["temperature"]), settings)

    def build(self) -> tuple[LabelledMemory, dict[str, Any]]:
        """Builds and calibrates the memory.

        Returns:
            The memory, and a report of it: numbers of images, settings, fitted parameters, and measurements on images to which
            nothing was fitted.
        """
        fitted_images, checks = self._parts()
        fitted, fitted_on = self._calibrate(fitted_images)
        probabilities = self._probabilities(self._similarities(checks), fitted.temperature)
        memory = LabelledMemory(self.memory.embeddings, self.memory.labels, self.memory.ids, self.class_names, fitted)
        report = {
            "labelled": len(self.memory),
            "classes": len(self.class_names),
            "trust": dataclasses.asdict(self.settings),
            "fitted_on": fitted_on,
            **{name: round(value, 6) for name, value in fitted._asdict().items()},
            "checked_on": len(checks),
            "measured": _measure(probabilities, checks.labels, fitted),
        }
        return memory, report

    def _calibrate(self, images: EmbeddedImages) -> tuple[Calibration, int]:
        """Fits temperature and thresholds; returns these and the number of images that were used."""
        similarities = self._similarities(images)
        agree = images.labels[:, np.newaxis] == self.memory.labels
        has_voter = np.any(agree & np.isfinite(similarities), axis=1)  # false for the only image of its class
        if not has_voter.any():
            return Calibration(self.temperature, 0.0, 0.0), 0
        temperature = calibration.fit_temperature(similarities[has_voter], agree[has_voter])
        # A held-out image of a class without a remembered image counts as an error.
        used = has_voter | ~np.isin(images.labels, self.memory.labels)
        probabilities = self._probabilities(similarities[used], temperature)
        return self._fit_thresholds(probabilities, images.labels[used], temperature), int(used.sum())

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
        """Returns `[n, M]` similarities to the memory: minus infinity between images of one group, and to added copies."""
        similarities = images.embeddings @ self.memory.embeddings.T
        added = np.flatnonzero(self.memory.ids >= FIRST_ADDED_ID)
        rows, columns = np.nonzero(images.copies(self.memory.take(added)))
        similarities[rows, added[columns]] = -np.inf
        is_remembered = images.ids >= 0
        same = is_remembered[:, np.newaxis] & (images.groups[:, np.newaxis] == self.memory.groups)
        similarities[same] = -np.inf
        return similarities

    def _probabilities(self, similarities: np.ndarray, temperature: float) -> np.ndarray:
        """Returns `[n, C]` class probabilities, computed by the function that is served."""
        parts = [
            class_probabilities(
                tf.constant(similarities[first : first + _ROWS]),
                tf.constant(self.memory.labels),
                len(self.class_names),
                temperature=np.float32(temperature),
            ).numpy()
            for first in range(0, len(similarities), _ROWS)
        ]
        return np.concatenate([np.zeros([0, len(self.class_names)], np.float32), *parts])

    def _fit_thresholds(self, probabilities: np.ndarray, truth: np.ndarray, temperature: float) -> Calibration:
        confidences, correct = probabilities.max(1), probabilities.argmax(1) == truth
        if self.settings.target_risk:
            threshold = calibration.threshold_for_risk(confidences, correct, self.settings.target_risk)
        else:
            threshold = calibration.threshold_for_coverage(confidences, self.settings.target_coverage)
        true_probabilities = probabilities[np.arange(len(truth)), truth]
        return Calibration(
            temperature, threshold, calibration.set_threshold(true_probabilities, self.settings.set_coverage)
        )


_PARTS = ("memory", "held_out")

_FIELDS = tuple(field.name for field in dataclasses.fields(EmbeddedImages))


def _field(arrays: Any, part: str, name: str) -> np.ndarray:
    """Reads a field; files of older versions have neither groups (each image is one) nor fingerprints."""
    if name == "groups" and f"{part}_groups" not in arrays:
        ids: np.ndarray = arrays[f"{part}_ids"]
        return ids if part == "memory" else np.arange(len(ids))
    if name == "fingerprints" and f"{part}_fingerprints" not in arrays:
        return np.zeros(len(arrays[f"{part}_ids"]), np.int64)
    value: np.ndarray = arrays[f"{part}_{name}"]
    return value


def _measure(probabilities: np.ndarray, truth: np.ndarray, fitted: Calibration) -> dict[str, float]:
    """Measures calibrated answers to `[n, C]` probabilities; returns an empty dictionary for no images."""
    if not len(truth):
        return {}
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == truth
    answered = confidences >= fitted.threshold
    sets = (probabilities >= fitted.set_threshold) | (probabilities == confidences[:, np.newaxis])
    measured = {
        "accuracy": np.mean(correct),
        "calibration_error": calibration.calibration_error(confidences, correct),
        "coverage": np.mean(answered),
        "set_coverage": np.mean(sets[np.arange(len(truth)), truth]),
        "set_size": np.mean(sets.sum(1)),
    }
    if answered.any():
        measured["risk"] = np.mean(~correct[answered])
    return {name: float(value) for name, value in measured.items()}


def summary(report: dict[str, Any]) -> str:
    """Formats a report of `Evidence.build` as one line."""
    measured = report["measured"]
    line = f"remembers {report['labelled']} images of {report['classes']} classes"
    if not report["fitted_on"]:
        line += "; nothing to calibrate on: its probabilities are rough, and it never abstains"
    if measured:
        line += f"; on {report['checked_on']} held-out images: accuracy {measured['accuracy']:.3f}"
        line += f", answers {measured['coverage']:.1%}"
    if "risk" in measured:
        line += f" of them, {measured['risk']:.1%} of those wrong"
    return line
