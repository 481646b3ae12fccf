"""Measures the share of the method itself in a training step: queue, vote, draws and losses.

    python -m semppl.benchmarks.step_share --flagfile=configs/digits.flags

Times the whole train step and each part alone, compiled the same way, interleaved; prints medians and shares.
"""

import statistics
import time
from collections.abc import Callable

import tensorflow as tf
from absl import app, flags

from semppl.data.pipeline import Pipeline
from semppl.layers.labels import NO_LABEL
from semppl.programs import run_flags
from semppl.trainers import pretrain, semppl

ROUNDS = flags.DEFINE_integer("rounds", 30, "Rounds per part.", lower_bound=1)


def parts(model: semppl.SemPPL, batch: dict[str, tf.Tensor]) -> dict[str, Callable[[], object]]:
    """Returns the whole step, and every part on embeddings computed beforehand."""
    anchors = model.predict_views(batch)
    targets = model.project_views(batch)
    labels, groups = batch["labels"], batch["groups"]
    step = model.optimizer.iterations
    fill_queue(model, targets, labels, groups)
    classes = tf.where(labels != NO_LABEL, labels, model.vote(anchors, groups, labels).classes)

    def draw() -> tf.Tensor:
        return model.draw_negatives(model.exclude_classes(groups, labels, classes), step)

    negatives, positives = draw(), model.draw_semantic_positives(classes, step)

    def losses() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = model.weigh(model.compare(anchors, targets, negatives, positives))
        return tape.gradient(loss, anchors)

    return {
        "whole step": tf.function(lambda: model.train_step(batch)),
        "queue, vote, draws and losses": tf.function(lambda: machinery(model, anchors, targets, batch)),
        "· enqueue": tf.function(lambda: model.enqueue(targets, labels, groups)),
        "· vote": tf.function(lambda: model.vote(anchors, groups, labels)),
        "· draw of negatives": tf.function(draw),
        "· draw of semantic positives": tf.function(lambda: model.draw_semantic_positives(classes, step)),
        "· losses and their gradient": tf.function(losses),
        "moving average": tf.function(lambda: model.move_target(step)),
    }


def machinery(model: semppl.SemPPL, anchors: tf.Tensor, targets: tf.Tensor, batch: semppl.Batch) -> tf.Tensor:
    """Runs a step without networks and moving average; returns the gradient with respect to the anchors."""
    step = tf.convert_to_tensor(model.optimizer.iterations)
    targets, labels, groups = model.gather(targets, batch["labels"], batch["groups"])
    model.enqueue(targets, labels, groups)
    classes = tf.where(
        batch["labels"] != NO_LABEL, batch["labels"], model.vote(anchors, batch["groups"], batch["labels"]).classes
    )
    keys = model.exclude_classes(groups, labels, classes)
    drawn = model.draw_negatives(keys, step), model.draw_semantic_positives(classes, step)
    with tf.GradientTape() as tape:
        tape.watch(anchors)
        loss = model.weigh(model.compare(anchors, targets, *drawn))
    return tape.gradient(loss, anchors)


def fill_queue(model: semppl.SemPPL, targets: tf.Tensor, labels: tf.Tensor, groups: tf.Tensor) -> None:
    """Enqueues the same batch until the queue is full."""
    for _ in range(model.hyperparameters.capacity // model.hyperparameters.labelled_batch_size):
        model.enqueue(targets, labels, groups)


def medians(
    functions: dict[str, Callable[[], object]], rounds: int, *, rest: float = 0, calls: int = 1
) -> dict[str, float]:
    """Returns the median seconds of each, timed in turns of some calls; after a rest, if any, and a call that does not count."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            if rest:
                time.sleep(rest)
                function()
            for _ in range(calls):
                start = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    source, labels, settings = pretrain.prepare_data(pretrain.hyperparameters_from_flags(), 1)
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=False)
    batch = next(iter(Pipeline(source.train, labels, settings).batches(first_step=0)))
    times = medians(parts(model, batch), ROUNDS.value)
    print("| part | ms | share of the step |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {seconds * 1e3:.2f} | {seconds / times['whole step']:.1%} |")


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
