"""What a labelled memory is built from: embedded images that vote, and embedded images that say how far to trust the votes."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.export.memory import calibration
from semppl.export.memory.labelled_memory import Calibration, LabelledMemory, class_probabilities

CALIBRATIONS = ("held_out", "memory", "nothing")
_ROWS = 1024
_MAX_JUDGED = 5_000

FIRST_ADDED_ID = 2**32
"""Of pictures that training did not know; its own are numbered from 0."""

_SAME = 1 - 1e-6  # similarity from which on two pictures are taken for one, where their pixels are not known
_TELLING = 8  # numbers; of fewer the embeddings of different pictures may be equal


@dataclasses.dataclass(frozen=True)
class EmbeddedImages:
    """Images as a served model sees them.

    Attributes:
        embeddings: `[n, D]` float32, unit-norm.
        labels: `[n]` int32.
        ids: `[n]` int64, -1 for images that are not of the training set.
        groups: `[n]` int64, equal where images of one part show the same thing.
        fingerprints: `[n]` int64, of their pixels, equal for copies; 0 where they are not known.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    fingerprints: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "EmbeddedImages":
        """Takes some rows, by position or mask."""
        return EmbeddedImages(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def join(self, other: "EmbeddedImages") -> "EmbeddedImages":
        """Appends other rows."""
        parts = ((getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return EmbeddedImages(*(np.concatenate(pair) for pair in parts))

    def copies(self, others: "EmbeddedImages") -> np.ndarray:
        """`[n, m]`: whether an image is the same picture as one of `others`: by pixels where both are known, else by embedding."""
        alike = self.embeddings @ others.embeddings.T > _SAME
        if self.embeddings.shape[1] < _TELLING:
            alike[:] = False
        mine, theirs = self.fingerprints[:, np.newaxis], others.fingerprints
        return np.where((mine != 0) & (theirs != 0), mine == theirs, alike)


@dataclasses.dataclass(frozen=True)
class CalibrationSettings:
    """How answers are to be trusted.

    Attributes:
        calibrate_on: held_out, half of the held-out images, the other half checks; memory, the labelled images themselves, each
            judged by the others, and all held-out images check; or nothing: then nothing is fitted and nothing abstained from.
        target_risk: share of wrong answers among those given; 0 means: see target_coverage.
        target_coverage: share of images that get an answer; 0 means: see target_risk.
        set_coverage: share of prediction sets that hold the true class.

    Raises:
        ValueError: if a value is not allowed.
    """

    calibrate_on: str = "held_out"
    target_risk: float = 0.05
    target_coverage: float = 0.0
    set_coverage: float = 0.9

    def __post_init__(self) -> None:
        if self.calibrate_on not in CALIBRATIONS:
            raise ValueError(f"--calibrate_on must be one of {', '.join(CALIBRATIONS)}. Received: {self.calibrate_on}")
        for name in ("target_risk", "target_coverage", "set_coverage"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name} must be in 0..1, below 1. Received: {getattr(self, name)}")
        if not self.set_coverage:
            raise ValueError("--set_coverage must be above 0. Received: 0.0")
        if (self.target_risk > 0) == (self.target_coverage > 0):
            received = f"--target_risk={self.target_risk} --target_coverage={self.target_coverage}"
            raise ValueError(
                f"Exactly one of --target_risk and --target_coverage must be positive. Received: {received}"
            )


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Everything that a labelled memory is built from; kept beside the model, so that it can be built again with more labels.

    Attributes:
        memory: labelled images, which vote.
        held_out: labelled images that training did not see.
        class_names: `[C]`.
        temperature: used where none can be fitted.
        trust: how answers are to be trusted.
    """

    memory: EmbeddedImages
    held_out: EmbeddedImages
    class_names: tuple[str, ...]
    temperature: float
    trust: CalibrationSettings

    def save(self, path: pathlib.Path) -> None:
        """Writes a `.npz` file."""
        images = {f"{part}_{name}": getattr(getattr(self, part), name) for part in _PARTS for name in _FIELDS}
        with path.open("wb") as file:
            np.savez(
                file,
                class_names=np.array(self.class_names, np.str_),
                temperature=self.temperature,
                **images,
                **{f"trust_{name}": value for name, value in dataclasses.asdict(self.trust).items()},
            )

    @classmethod
    def load(cls, path: pathlib.Path) -> "Evidence":
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            memory, held_out = (EmbeddedImages(*(_field(kept, part, name) for name in _FIELDS)) for part in _PARTS)
            trust = CalibrationSettings(
                **{field.name: kept[f"trust_{field.name}"].item() for field in dataclasses.fields(CalibrationSettings)}
            )
            names = tuple(str(name) for name in kept["class_names"])
            return cls(memory, held_out, names, float(kept["temperature"]), trust)

    def build(self) -> tuple[LabelledMemory, dict[str, Any]]:
        """Fits what can be fitted.

        Returns:
            The memory, and what is known of its answers: numbers of images, settings, and measurements on images that were not used
            to fit anything.
        """
        judged, checks = self._parts()
        fit = self._similarities(judged)
        agree = judged.labels[:, np.newaxis] == self.memory.labels
        judgeable = np.any(agree & np.isfinite(fit), axis=1)  # the only image of its class cannot be judged by others
        answers, judges = Calibration(self.temperature, 0.0, 0.0), np.zeros(len(judged), bool)
        if judgeable.any():
            temperature = calibration.fit_temperature(fit[judgeable], agree[judgeable])
            # A class that nothing votes for is an error.
            judges = judgeable | ~np.isin(judged.labels, self.memory.labels)
            answers = self._fit_thresholds(
                self._probabilities(fit[judges], temperature), judged.labels[judges], temperature
            )
        checked = self._probabilities(self._similarities(checks), answers.temperature)
        memory = LabelledMemory(self.memory.embeddings, self.memory.labels, self.memory.ids, self.class_names, answers)
        report = {
            "labelled": len(self.memory),
            "classes": len(self.class_names),
            "trust": dataclasses.asdict(self.trust),
            "fitted_on": int(judges.sum()),
            **{name: round(value, 6) for name, value in answers._asdict().items()},
            "checked_on": len(checks),
            "measured": _measure(checked, checks.labels, answers),
        }
        return memory, report

    def compare(self, exact: "Evidence") -> dict[str, float]:
        """Tells what coarser weights cost.

        Args:
            exact: the same images as the network embeds them in float32.

        Returns:
            Mean and least similarity of the held-out images' embeddings to the exact ones, and, on those that were not used to fit
            anything, the accuracy of the exact network; nothing where there are none.
        """
        cost = self.loss_of_accuracy(exact, "accuracy_in_float32")
        if not cost:
            return {}
        similarities = np.sum(self.held_out.embeddings * exact.held_out.embeddings, axis=1)
        return {"mean_similarity": float(similarities.mean()), "least_similarity": float(similarities.min())} | cost

    def loss_of_accuracy(self, better: "Evidence", name: str) -> dict[str, float]:
        """Tells the accuracy by better embeddings of the same images, as `name`, and the loss of it; nothing where none are judged.

        The images judged are held out and were not used to fit anything.
        """
        ours, theirs = (evidence.build()[1]["measured"].get("accuracy") for evidence in (self, better))
        return {} if ours is None else {name: theirs, "loss_of_accuracy": theirs - ours}

    def _parts(self) -> tuple[EmbeddedImages, EmbeddedImages]:
        """Returns the images to fit on, and those to check on: what shows the same thing is in one part."""
        rng = np.random.default_rng(0)
        if self.trust.calibrate_on == "memory":
            return self.memory.take(rng.permutation(len(self.memory))[:_MAX_JUDGED]), self.held_out
        if self.trust.calibrate_on == "nothing":
            return self.held_out.take(np.zeros(0, int)), self.held_out
        order = rng.permutation(len(self.held_out))
        groups = self.held_out.groups[order]
        place = {group: number for number, group in enumerate(dict.fromkeys(groups.tolist()))}
        is_even = np.array([place[group] % 2 == 0 for group in groups.tolist()], bool)
        return self.held_out.take(order[is_even]), self.held_out.take(order[~is_even])

    def _similarities(self, images: EmbeddedImages) -> np.ndarray:
        """`[n, M]`, minus infinity between an image and itself, another one of the same thing, or a copy that was added."""
        similarities = images.embeddings @ self.memory.embeddings.T
        added = np.flatnonzero(self.memory.ids >= FIRST_ADDED_ID)
        rows, columns = np.nonzero(images.copies(self.memory.take(added)))
        similarities[rows, added[columns]] = -np.inf
        remembered = images.ids >= 0
        same = remembered[:, np.newaxis] & (images.groups[:, np.newaxis] == self.memory.groups)
        similarities[same] = -np.inf
        return similarities

    def _probabilities(self, similarities: np.ndarray, temperature: float) -> np.ndarray:
        """`[n, C]`, by the function that is served."""
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
        if self.trust.target_risk:
            threshold = calibration.threshold_for_risk(confidences, correct, self.trust.target_risk)
        else:
            threshold = calibration.threshold_for_coverage(confidences, self.trust.target_coverage)
        true_probabilities = probabilities[np.arange(len(truth)), truth]
        return Calibration(
            temperature, threshold, calibration.set_threshold(true_probabilities, self.trust.set_coverage)
        )


_PARTS = ("memory", "held_out")

_FIELDS = tuple(field.name for field in dataclasses.fields(EmbeddedImages))


def _field(kept: Any, part: str, name: str) -> np.ndarray:
    """Reads a field; in older files every image shows its own thing, and pixels are not known."""
    if name == "groups" and f"{part}_groups" not in kept:
        ids: np.ndarray = kept[f"{part}_ids"]
        return ids if part == "memory" else np.arange(len(ids))
    if name == "fingerprints" and f"{part}_fingerprints" not in kept:
        return np.zeros(len(kept[f"{part}_ids"]), np.int64)
    value: np.ndarray = kept[f"{part}_{name}"]
    return value


def _measure(probabilities: np.ndarray, truth: np.ndarray, answers: Calibration) -> dict[str, float]:
    """Measures answers; nothing where there are no images."""
    if not len(truth):
        return {}
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == truth
    answered = confidences >= answers.threshold
    sets = (probabilities >= answers.set_threshold) | (probabilities == confidences[:, np.newaxis])
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
    """Says in a line how well a memory answers."""
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
