"""What happens between steps: reports, checkpoints, and the ways a run can end."""

import json
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers.labels import NO_LABEL
from semppl.runs.checkpoints import RunCheckpoints
from semppl.runs.files import write_atomically
from semppl.runs.folder import events_folder, writing_to
from semppl.trainers.devices.termination import Termination
from semppl.trainers.reports.distributions import Distributions, confusion_image
from semppl.trainers.reports.monitors import meaningful
from semppl.trainers.reports.turns import Turn, tenth
from semppl.trainers.reports.views_grid import Views

COLLAPSED_SPREAD = 0.01


class NotFinite(Exception):
    """A loss term or a weight is NaN or Inf; the message names the first one."""


class Terminated(Exception):
    """The run was asked to stop, and has saved its state."""


class StopOnNotFinite(tf.keras.callbacks.Callback):
    """Stops the run at the first NaN or Inf in a report, before anything is saved, and names the term."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Checks every number of the report."""
        require_finite_report(logs, step=_step(self.model))


class Summaries(tf.keras.callbacks.Callback):
    """Writes TensorBoard summaries and `metrics.jsonl`.

    Args:
        workdir: Folder of the run.
        first_step: Step at which this process starts; later lines of an earlier process are dropped.
        last_step: Last step of the run, always reported.
        every: Steps between reports.
        class_names: Name of each class, for the number of queue entries per class.
        warn: Function that prints a line of warning.
    """

    _MAX_CLASSES_BY_NAME = 20

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        first_step: int,
        last_step: int,
        every: int,
        class_names: tuple[str, ...],
        warn: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self._workdir = workdir
        self._last_step = last_step
        self._turn = Turn(every, first_step)
        self._class_names = class_names
        self._warn = warn
        self._warned = False
        self._more: dict[str, float] = {}
        self._lines = workdir / "metrics.jsonl"
        with writing_to(workdir):
            _drop_later_lines(self._lines, first_step)
            self._writer = tf.summary.create_file_writer(str(events_folder(workdir)))

    def views(self, views: Views, step: int) -> None:
        """Writes grids of views, a row per image: the image as evaluation prepares it and its large views; its small views."""
        names = ", ".join(f"`{name}`" for name in views.names)
        grids = {"large": np.concatenate([views.plain[np.newaxis], views.large]), "small": views.small}
        with writing_to(self._workdir), self._writer.as_default():
            for name, columns in grids.items():
                if len(columns):
                    first = "First column: the image as evaluation prepares it. " if name == "large" else ""
                    text = f"{first}Rows from the top: {names}"
                    tf.summary.image(f"views/{name}", grid(columns)[np.newaxis], step=step, description=text)

    def distributions(self, distributions: Distributions, step: int) -> None:
        """Writes histograms of similarities, and an image of the confusion of the pseudo-labels."""
        with writing_to(self._workdir), self._writer.as_default():
            for name, values in distributions.similarities.items():
                if len(values):
                    text = "Cosine similarity of held-out images to the most similar labelled image."
                    tf.summary.histogram(f"similarities/{name}", values, step=step, description=text)
            if distributions.confusion is not None:
                names = ", ".join(f"`{name}`" for name in self._class_names[: self._MAX_CLASSES_BY_NAME])
                text = f"Rows: true classes, columns: pseudo-labels, brightness: share of the row. Classes in order: {names}"
                picture = confusion_image(distributions.confusion)
                tf.summary.image("pseudo_labels/confusion", picture[np.newaxis], step=step, description=text)

    def add(self, numbers: dict[str, float]) -> None:
        """Takes more numbers into the report of the current step, which is then written out of turn."""
        self._more |= numbers

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Reports every few steps."""
        step = _step(self.model)
        if not self._turn.comes_at(step) and step != self._last_step and not self._more:
            return
        numbers = meaningful(logs) | self._more
        self._more = {}
        numbers["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        numbers |= self._queue_fill()
        rounded = {name: float(f"{value:.7g}") for name, value in numbers.items()}
        with writing_to(self._workdir):
            with self._writer.as_default():  # and flushes, so that a kill leaves no gap
                for name, value in numbers.items():
                    tf.summary.scalar(_GROUPS.get(name, name), value, step=step, description=_DESCRIPTIONS.get(name))
            with self._lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **rounded}) + "\n")
        if numbers.get("embedding_spread", 1) < COLLAPSED_SPREAD and not self._warned:
            self._warned = True
            spread = f"(spread {numbers['embedding_spread']:.4f})"
            self._warn(
                f"warning: step {step}: the embeddings have all but collapsed {spread}; try a lower --learning_rate"
            )

    def _queue_fill(self) -> dict[str, float]:
        queue = getattr(self.model, "queue", None)
        if queue is None:
            return {}
        labels = queue.labels.numpy()
        fill = np.bincount(labels[labels != NO_LABEL], minlength=len(self._class_names))
        numbers = {"queue/filled": float(np.mean(labels != NO_LABEL)), "queue/fewest_of_a_class": float(fill.min())}
        if len(fill) <= self._MAX_CLASSES_BY_NAME:
            numbers |= {
                f"queue/class {name}": float(count) for name, count in zip(self._class_names, fill, strict=True)
            }
        return numbers


class WarnOfIdlePseudoLabels(tf.keras.callbacks.Callback):
    """Warns once when hardly any unlabelled image gets a pseudo-label, so that the method learns little from such images.

    Args:
        min_vote_share: Setting of the run, for the message.
        first_step: Step at which this process starts.
        last_step: Last step of the run, at which a shorter window ends too.
        warn: Function that prints a line of warning.
    """

    WINDOW = 500
    """Number of steps over which the coverage is averaged."""
    TOO_LITTLE = 0.02

    def __init__(
        self, *, min_vote_share: float, first_step: int, last_step: int, warn: Callable[[str], None] = print
    ) -> None:
        super().__init__()
        self._min_vote_share = min_vote_share
        self._last_step = last_step
        self._warn = warn
        self._warned = False
        self._coverages: list[float] = []
        self._begun = first_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Averages the coverage; at the end of a window, compares it with `TOO_LITTLE`."""
        if self._warned or "pseudo_label_coverage" not in logs:
            return
        self._coverages.append(float(logs["pseudo_label_coverage"]))
        step = _step(self.model)
        if step - self._begun < self.WINDOW and step != self._last_step:
            return
        mean, steps = float(np.mean(self._coverages)), step - self._begun
        self._coverages.clear()
        self._begun = step
        if mean < self.TOO_LITTLE:
            self._warned = True
            self._warn(
                f"warning: step {step}: {mean:.1%} of the unlabelled images got a pseudo-label in the last {steps} steps, so the "
                f"others have no semantic positives; start from a pretrained network (--preset=own_pictures_cpu), whose neighbours "
                f"agree more often, or lower --min_vote_share (now {self._min_vote_share:g}), in another --workdir"
            )


_LOSSES = (
    "loss",
    *(f"{kind}_{which}" for kind in ("contrastive", "invariance") for which in ("augmentation", "semantic")),
)
_FIRST = (
    "held_out_accuracy",
    "pseudo_label_accuracy",
    "pseudo_label_balanced_accuracy",
    "pseudo_label_coverage",
    "train_accuracy",
)
_HEALTH = ("effective_rank", "spread", "uniformity", "alignment", "view_agreement", "view_separation", "vote_entropy")
_GROUPS = {
    **{name: f"accuracy/{name}" for name in _FIRST},  # the first group on TensorBoard's page, by the alphabet
    **{name: f"loss/{name}" for name in _LOSSES},
    **{name: f"pseudo_labels/{name}" for name in ("pseudo_labels_judged", "vote_confidence", "with_semantic_positive")},
    **{name: f"health/{name}" for name in _HEALTH},
    **{name: f"optimisation/{name}" for name in ("learning_rate", "target_decay", "gradient_norm")},
}
_DESCRIPTIONS = {
    "held_out_accuracy": "Share of held-out images whose nearest labelled image has their class.",
    "effective_rank": "Number of directions that the embeddings use (RankMe); 1 when they have collapsed.",
    "spread": "1 − ‖mean embedding‖² of training images: near 1 while embeddings differ, 0 when all are one point.",
    "uniformity": "Logarithm of the mean Gaussian potential of pairs: 0 for one point, about −4 where evenly spread.",
    "alignment": "Mean squared distance between two views of an image: 0 where views agree.",
    "view_agreement": "Share of images whose two views are nearest to each other.",
    "view_separation": "Mean cosine of two views of one image, less that of views of two images.",
    "vote_entropy": "Entropy of the classes that the queue elects, as a share of its maximum; 1: all equally often.",
    "pseudo_label_accuracy": "Share of correct pseudo-labels among those of unlabelled images whose true class is known.",
    "pseudo_label_balanced_accuracy": "The accuracy of the pseudo-labels, averaged over the true classes.",
    "pseudo_label_coverage": "Share of the unlabelled images that received a pseudo-label.",
    "train_accuracy": "Share of the training images of the batch that the classifier gets right.",
    "embedding_spread": "1 − ‖mean embedding‖²: near 1 while embeddings differ, 0 when all are one point.",
    "with_semantic_positive": "Share of all images with a semantic positive.",
    "vote_confidence": "Mean share of the votes that the elected class received.",
}


class ShowViews(tf.keras.callbacks.Callback):
    """Writes views at the start and after every tenth of the run, at most every 100 steps.

    Args:
        make: Function from a step to views.
        write: Function that writes views and their step.
        first_step: Step at which this process starts.
        last_step: Last step of the run.
    """

    def __init__(
        self, make: Callable[[int], Views], write: Callable[[Views, int], None], *, first_step: int, last_step: int
    ) -> None:
        super().__init__()
        self._make = make
        self._write = write
        self._turn = Turn(tenth(last_step), first_step)
        write(make(first_step), first_step)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Writes views at the end of an interval."""
        step = _step(self.model)
        if self._turn.comes_at(step):
            self._write(self._make(step), step)


class Checkpointing(tf.keras.callbacks.Callback):
    """Saves every few steps, every few minutes and at the end; when asked to stop, saves and ends the run.

    Args:
        checkpoints: Checkpoints of the run.
        every: Steps between checkpoints.
        minutes: Minutes after a checkpoint after which the next step is saved; 0: only by steps.
        last_step: Last step of the run, always saved.
        termination: Source of requests to stop early.
        clock: Function that returns the time in seconds.
    """

    def __init__(
        self,
        checkpoints: RunCheckpoints,
        *,
        every: int,
        minutes: float = 0.0,
        last_step: int,
        termination: Termination | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._turn = Turn(every, checkpoints.step)
        self._seconds = 60 * minutes or float("inf")
        self._last_step = last_step
        self._termination = termination or Termination()
        self._clock = clock
        self._saved_at = clock()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Saves at the end of an interval, at the last step and when asked to stop."""
        step, asked = _step(self.model), self._termination.asked
        due = self._turn.comes_at(step) or self._clock() - self._saved_at >= self._seconds
        if due or step == self._last_step or asked:
            with self._termination.saving():
                require_finite([*self.model.variables, *self.model.optimizer.variables])
                self._checkpoints.save()
                self._termination.saved = step
            self._saved_at = self._clock()
        if asked and step != self._last_step:
            raise Terminated
        self._termination.underway = True


def require_finite_report(report: Mapping[str, Any], *, step: int) -> None:
    """Checks every number of the report of a step.

    Raises:
        NotFinite: naming the step and the numbers that are NaN or Inf.
    """
    broken = [name for name, value in report.items() if not np.all(np.isfinite(value))]
    if broken:
        terms = ", ".join(f"{name} = {float(report[name])}" for name in broken)
        raise NotFinite(f"step {step}: {terms}. {WHAT_NOW}")


def require_finite(variables: Iterable[tf.Variable]) -> None:
    """Checks every variable that would be saved: a step whose terms are finite can still leave weights that are not.

    Raises:
        NotFinite: naming the first variable that contains NaN or Inf.
    """
    for variable in variables:
        if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
            raise NotFinite(f"{variable.name} holds a NaN or infinity. {WHAT_NOW}")


WHAT_NOW = "Try a lower --learning_rate, in a new run; checkpoints of this run, if any, were saved before."
"""What to do, at the end of the messages of NotFinite."""


def _step(model: tf.keras.Model) -> int:
    return int(model.optimizer.iterations.numpy())  # a mirrored variable is no int


def grid(views: np.ndarray) -> np.ndarray:
    """Lays views `[V, B, H, W, C]` out as one image `[B·H, V·W, 1 or 3]`; of more channels, the first three or one."""
    views = views[..., : 3 if views.shape[-1] >= 3 else 1]
    count, batch, height, width, channels = views.shape
    return views.transpose(1, 2, 0, 3, 4).reshape(batch * height, count * width, channels)


def _drop_later_lines(path: pathlib.Path, step: int) -> None:
    """Drops the lines that a killed run wrote after its last checkpoint; those steps are taken again."""
    if not path.exists():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                lines.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # the line that the kill cut short
            continue
    write_atomically(path, "".join(lines))
