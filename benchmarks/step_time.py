"""Measures the parts of a training step: input, forward, target, search, loss, backward and update.

    python -m semppl.benchmarks.step_time --flagfile=configs/digits.flags

Each part is a function of its own on what the parts before it made, compiled as the step is, and timed in turns with the whole
step; medians. Backward cannot run alone: it is what forward, loss and gradient together take beyond forward and loss. The parts
can share less than the whole step can, and input overlaps with it in a run: their sum need not be 100 %.
"""

from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import app

from semppl.benchmarks.step_share import ROUNDS, fill_queue, medians
from semppl.data.pipeline import Pipeline
from semppl.layers.labels import NO_LABEL
from semppl.layers.semantic_positives import SemanticPositives
from semppl.programs import run_flags
from semppl.trainers import pretrain, semppl
from semppl.trainers.devices import strategy

_WITH_GRADIENT = "forward, loss and gradient"
_WHOLE = "whole step"


def parts(
    model: semppl.SemPPL, batch: semppl.Batch, batches: Iterator[semppl.Batch], *, jit_compile: bool
) -> dict[str, Callable[[], object]]:
    """Returns the whole step and every part of it.

    Args:
        model: Built and compiled model; timing trains it.
        batch: Batch for every part but the input.
        batches: Infinite dataset, the input.
        jit_compile: Whether XLA compiles the parts.
    """
    variables = model.online.trainable_variables
    anchors, targets = model.predict_views(batch), model.project_views(batch)
    labels, groups = batch["labels"], batch["groups"]
    step = tf.convert_to_tensor(model.optimizer.iterations)
    fill_queue(model, targets, labels, groups)

    def search() -> tuple[tf.Tensor, SemanticPositives]:
        model.enqueue(targets, labels, groups)
        classes = tf.where(labels != NO_LABEL, labels, model.vote(anchors, groups, labels).classes)
        keys = model.exclude_classes(groups, labels, classes)
        return model.draw_negatives(keys, step), model.draw_semantic_positives(classes, step)

    drawn = search()

    def loss(predictions: tf.Tensor) -> tf.Tensor:
        return model.weigh(model.compare(predictions, targets, *drawn))

    def gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(model.predict_views(batch))
        gradients: list[tf.Tensor] = tape.gradient(value, variables)
        return gradients

    gradients = gradient()

    def update() -> None:
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=True)
        model.move_target(step)

    of_devices = {
        "forward": lambda: model.predict_views(batch),
        "target": lambda: model.project_views(batch),
        "search": search,
        "loss": lambda: loss(anchors),
        _WITH_GRADIENT: gradient,
        "update": update,
        _WHOLE: lambda: model.train_step(batch),
    }
    compiled = {name: tf.function(part, jit_compile=jit_compile) for name, part in of_devices.items()}
    return {"input": lambda: next(batches), **compiled}


def breakdown(seconds: dict[str, float]) -> dict[str, float]:
    """Returns the seconds of each part of a step, in their order, from those of what was timed."""
    backward = seconds[_WITH_GRADIENT] - seconds["forward"] - seconds["loss"]
    before = {name: seconds[name] for name in ("input", "forward", "target", "search", "loss")}
    return {**before, "backward": backward, "update": seconds["update"]}


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    source, labels, settings = pretrain.prepare_data(pretrain.hyperparameters_from_flags(), 1)
    compiled = strategy.compiles("auto", tf.distribute.get_strategy())
    model = pretrain.build_model(settings, len(source.class_names), jit_compile=compiled)
    batches = iter(Pipeline(source.train, labels, settings).batches(first_step=0).repeat())
    seconds = medians(parts(model, next(batches), batches, jit_compile=compiled), ROUNDS.value)
    whole, rows = seconds[_WHOLE], breakdown(seconds)
    print("| part | ms | share of the step |\n|---|---|---|")
    for name, value in {**rows, "all parts but input": sum(rows.values()) - rows["input"], _WHOLE: whole}.items():
        print(f"| {name} | {value * 1e3:.2f} | {value / whole:.1%} |")


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
