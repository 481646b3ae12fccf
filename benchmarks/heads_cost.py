"""Measures what heads on a frozen encoder cost: the features, against the bare network, and a step.

    python -m semppl.benchmarks.heads_cost --flagfile=configs/own_pictures_cpu.flags --rounds=3

In turns, the features of `--train_pictures` training pictures are computed as a run computes them, views included, and as many
images of the same size pass through the network alone. Then a run's loop takes steps on the features; reported are the milliseconds
a step, and the share of them that it waits for data.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.step_share import ROUNDS
from semppl.data.images import NO_LABEL
from semppl.data.pipeline import Pipeline
from semppl.programs import run_flags
from semppl.trainers import pretrain
from semppl.trainers.method import Method
from semppl.trainers.pretrained.cached_features import FeatureCache, views_at_a_time
from semppl.trainers.pretrained.cached_features import statistics as feature_statistics

_PICTURES = flags.DEFINE_integer(
    "train_pictures", 200, "Number of training pictures whose features are computed.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("timed_steps", 200, "Number of steps to time.", lower_bound=2)


def rate_behind_the_first(batches: Iterable[np.ndarray]) -> float:
    """Returns the rows per second of batches behind the first, which waits for tracing and compilation."""
    start, rows = 0.0, 0
    for number, batch in enumerate(batches):
        if number == 0:
            start = time.perf_counter()
        else:
            rows += len(batch)
    return rows / (time.perf_counter() - start)


def take_steps(model: Method, pipeline: Pipeline, steps: int) -> tuple[float, float]:
    """Takes steps as a run does; returns the seconds a step, and the share of the time that it waits for data."""
    batches = iter(pipeline.batches(first_step=0).repeat())
    step = model.make_train_function()
    for _ in range(10):  # compile, fill the queue
        step(batches)
    waited, start = model.seconds_waiting, time.perf_counter()
    for _ in range(steps):
        report = step(batches)
    float(report["loss"])
    seconds = time.perf_counter() - start
    return seconds / steps, (model.seconds_waiting - waited) / seconds


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    source, labels, settings = pretrain.prepare_data(pretrain.hyperparameters_from_flags(), 1)
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=False)
    chosen = np.concatenate([np.flatnonzero(labels != NO_LABEL), np.flatnonzero(labels == NO_LABEL)])[: _PICTURES.value]
    images, labels = source.train.select(chosen), labels[chosen]
    encode = tf.function(model.online.encode, autograph=False)
    together = views_at_a_time(settings.large_size)
    batch = tf.random.uniform([together, settings.large_size, settings.large_size, settings.channels])

    def alone() -> Iterator[np.ndarray]:
        for _ in range(1 + len(images) * settings.cached_views // together):
            yield encode(batch).numpy()

    rates: dict[str, list[float]] = {"alone": [], "run": []}
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(images, settings, model.online, pathlib.Path(folder))
        for _ in range(ROUNDS.value):
            rates["alone"].append(rate_behind_the_first(alone()))
            rates["run"].append(rate_behind_the_first(cache.compute(0)) * settings.cached_views)
        cached = cache.load()
        model.scale_features(*feature_statistics(cached.features))
        seconds, waiting = take_steps(model, Pipeline(cached, labels, settings), _STEPS.value)
    of_network, of_run = (statistics.median(rates[name]) for name in ("alone", "run"))
    print("| | |\n|---|---|")
    print(f"| the network alone, images/s | {of_network:.1f} |")
    print(f"| features with their views, images/s | {of_run:.1f} |")
    print(f"| ratio | {of_run / of_network:.3f} |")
    print(f"| a step of {settings.batch_size}, ms | {1e3 * seconds:.2f} |")
    print(f"| of it waiting for data | {waiting:.1%} |")


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
