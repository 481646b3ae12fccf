"""What happens between steps: progress, reports, checkpoints, and the ways a run can end."""

import json
import pathlib
import signal
import time
import types
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers.labels import NO_LABEL
from semppl.trainers.checkpoints import RunCheckpoints, write_atomically

COLLAPSED_SPREAD = 0.01


class NotFinite(Exception):
    """A loss term is NaN or infinite; the message names it."""


class Terminated(Exception):
    """The run was asked to stop, and has saved its state."""


class StopOnNotFinite(tf.keras.callbacks.Callback):
    """Stops the run at the first NaN or infinity, before anything is saved, and names the term."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Looks at every reported number."""
        broken = [name for name, value in logs.items() if not np.all(np.isfinite(value))]
        if broken:
            step = int(self.model.optimizer.iterations)
            terms = ", ".join(f"{name} = {float(logs[name])}" for name in broken)
            raise NotFinite(f"step {step}: {terms}. The last checkpoint is from before; try a lower --learning_rate.")


class Progress(tf.keras.callbacks.Callback):
    """Keras' progress bar over all steps of the run, with loss terms, images per second and remaining time.

    Args:
        first_step: where this process started.
        last_step: where the run ends.
        batch_size: N.
        every: seconds between updates.
    """

    _SHOWN = (
        "loss",
        "contrastive_augmentation",
        "contrastive_semantic",
        "invariance_augmentation",
        "invariance_semantic",
    )
    _RENAMED = types.MappingProxyType(
        {"contrastive_augmentation": "L_aug", "contrastive_semantic": "L_sem", "invariance_augmentation": "I_aug"}
        | {"invariance_semantic": "I_sem", "pseudo_label_accuracy": "pseudo_acc", "train_accuracy": "train_acc"}
    )

    def __init__(self, *, first_step: int, last_step: int, batch_size: int, every: float) -> None:
        super().__init__()
        self._batch_size = batch_size
        self._every = every
        self._steps = last_step - first_step
        self._bar: tf.keras.utils.Progbar = None
        self._shown_at = 0.0
        self._shown_step = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Draws the bar, now and then."""
        now = time.monotonic()
        if self._bar is None:  # the first step is mostly compilation
            self._bar = tf.keras.utils.Progbar(
                self._steps, unit_name="step", interval=self._every, stateful_metrics=None
            )
            self._shown_at, self._shown_step = now, 0
        done = batch + 1
        if now - self._shown_at < self._every and done != self._steps:
            return
        rate = (done - self._shown_step) * self._batch_size / max(now - self._shown_at, 1e-9)
        self._shown_at, self._shown_step = now, done
        names = [*self._SHOWN, "pseudo_label_accuracy", "train_accuracy"]
        values = [(self._RENAMED.get(name, name), float(logs[name])) for name in names if name in logs]
        values.append(("images/s", rate))
        self._bar.stateful_metrics = {name for name, _ in values}
        self._bar.update(done, values)


class Summaries(tf.keras.callbacks.Callback):
    """Writes TensorBoard summaries and `metrics.jsonl`.

    Args:
        workdir: of the run.
        first_step: where this process starts; later lines of an earlier process are dropped.
        every: steps between reports.
        class_names: for the queue's fill per class.
    """

    _MAX_CLASSES_BY_NAME = 20

    def __init__(self, workdir: pathlib.Path, *, first_step: int, every: int, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self._every = every
        self._class_names = class_names
        self._lines = workdir / "metrics.jsonl"
        _drop_later_lines(self._lines, first_step)
        self._writer = tf.summary.create_file_writer(str(workdir / "tensorboard"))
        self._warned = False

    def views(self, batch: dict[str, np.ndarray], step: int) -> None:
        """Shows a grid of views: an image a row, large views and then small ones."""
        with self._writer.as_default():
            for name in ("large", "small"):
                if len(batch[name]):
                    tf.summary.image(f"views/{name}", grid(batch[name][:, :8])[np.newaxis], step=step)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Reports every few steps."""
        step = int(self.model.optimizer.iterations)
        if step % self._every and step != self.params["steps"]:
            return
        numbers = {name: float(value) for name, value in logs.items()}
        numbers["learning_rate"] = float(self.model.optimizer.learning_rate)
        numbers |= self._queue_fill()
        with self._writer.as_default():
            for name, value in numbers.items():
                tf.summary.scalar(_GROUPS.get(name, name), value, step=step)
        with self._lines.open("a") as file:
            file.write(json.dumps({"step": step, **{name: round(value, 7) for name, value in numbers.items()}}) + "\n")
        if numbers.get("embedding_spread", 1) < COLLAPSED_SPREAD and not self._warned:
            self._warned = True
            print(
                f"\nwarning: step {step}: the embeddings have all but collapsed (spread {numbers['embedding_spread']:.4f})"
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Flushes."""
        self._writer.flush()

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


_GROUPS = {
    **{name: f"loss/{name}" for name in ("loss", *(f"contrastive_{kind}" for kind in ("augmentation", "semantic")))},
    **{name: f"loss/{name}" for name in ("invariance_augmentation", "invariance_semantic")},
    **{name: f"pseudo_labels/{name}" for name in ("pseudo_label_accuracy", "pseudo_label_coverage", "vote_confidence")},
    "with_semantic_positive": "pseudo_labels/with_semantic_positive",
    **{name: f"optimisation/{name}" for name in ("learning_rate", "target_decay", "gradient_norm")},
}


class Checkpointing(tf.keras.callbacks.Callback):
    """Saves every few steps and at the end; on SIGTERM saves and ends the run.

    Args:
        checkpoints: of the run.
        every: steps between checkpoints.
        last_step: where the run ends.
    """

    def __init__(self, checkpoints: RunCheckpoints, *, every: int, last_step: int) -> None:
        super().__init__()
        self._checkpoints = checkpoints
        self._every = every
        self._last_step = last_step
        self._stepping = False
        self._asked_to_stop = False

    def listen(self) -> None:
        """Listens for SIGTERM from now on."""
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, _number: int, _frame: types.FrameType | None) -> None:
        if not self._stepping:  # still starting: the last checkpoint is the state
            raise Terminated
        self._asked_to_stop = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Saves where it is time to."""
        self._stepping = True
        step = int(self.model.optimizer.iterations)
        if step % self._every == 0 or step == self._last_step or self._asked_to_stop:
            self._checkpoints.save()
        if self._asked_to_stop and step != self._last_step:
            raise Terminated


def grid(views: np.ndarray) -> np.ndarray:
    """Lays views out: `[V, B, H, W, C]` gives one picture `[B·H, V·W, C]`."""
    count, batch, height, width, channels = views.shape
    return views.transpose(1, 2, 0, 3, 4).reshape(batch * height, count * width, channels)


def _drop_later_lines(path: pathlib.Path, step: int) -> None:
    """Drops what a killed run wrote after its last checkpoint; those steps come again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):  # the line that the kill cut short
            continue
    write_atomically(path, "".join(kept))
