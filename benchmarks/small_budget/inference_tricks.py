r"""Measures the accuracy of a trained run under variants of inference: picture sizes, horizontal flips, the target network.

    python -m semppl.benchmarks.small_budget.inference_tricks --workdir=outputs/cifar10 --sizes=24,32,40

The nearest labelled image and logistic regression classify, as in `semppl.evaluation.evaluate`, by the run's labelled images, on
embeddings that are made in each way; the test images are embedded in the same way. Test labels are used for scoring only.
"""

import functools
from collections.abc import Callable, Iterator

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import require
from semppl.data.images import NO_LABEL
from semppl.data.run_data import load_evaluated_data
from semppl.evaluation.evaluators import EVALUATORS, Task, training_sample
from semppl.evaluation.features import embed, preparation_of
from semppl.layers.networks import OnlineNetwork, TargetNetwork, unit_norm
from semppl.programs import run_flags
from semppl.runs import checkpoints

flags.adopt_module_key_flags(run_flags)
_SIZES = flags.DEFINE_list(
    "sizes", [], "Comma-separated sizes of pictures, in pixels, to evaluate besides the run's; empty: none."
)

_COLUMNS = ("nearest_neighbours", "logistic_regression")

Embed = Callable[[tf.Tensor], tf.Tensor]


def of_both_sides(function: Embed, images: tf.Tensor) -> tf.Tensor:
    """Returns the mean of the unit-norm outputs `[B, D]` for images and for their mirror images."""
    return (unit_norm(function(images)) + unit_norm(function(tf.reverse(images, [2])))) / 2


def ways(
    hyperparameters: Hyperparameters, online: OnlineNetwork, target: TargetNetwork | None, sizes: list[int]
) -> Iterator[tuple[str, int, Embed, Embed]]:
    """Yields name, side in pixels, and functions to features and to projections, of each way to embed pictures."""
    side = hyperparameters.embedded_size
    yield f"online network, {side} pixels", side, online.features, online.project
    if target:
        yield f"target network, {side} pixels", side, target.features, target.project
    features, project = (functools.partial(of_both_sides, function) for function in (online.features, online.project))
    yield f"mean with the horizontal flip, {side} pixels", side, features, project
    for other in sizes:
        if other != side:
            yield f"online network, {other} pixels", other, online.features, online.project


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table."""
    del argv
    for size in _SIZES.value:
        require(size.isdecimal() and int(size) >= 8, "sizes", "comma-separated whole numbers, 8 or more", size)
    workdir = run_flags.WORKDIR.value
    hyperparameters, online, step = checkpoints.load_online(workdir)
    data = load_evaluated_data(workdir, hyperparameters, {})
    train, test = data.source.train, data.source.held_out("test")
    visible = np.flatnonzero(data.labels != NO_LABEL)
    used = training_sample(visible, train)
    print(
        f"{workdir}, step {step:,} of {hyperparameters.steps:,}, {len(visible):,} labels, {len(test):,} test images\n"
    )
    print("| | " + " | ".join(f"{row}, {column}" for row in ("features", "projections") for column in _COLUMNS) + " |")
    print("|---" * (1 + 2 * len(_COLUMNS)) + "|")
    target = checkpoints.load_target(workdir)
    for name, side, *functions in ways(hyperparameters, online, target, [int(size) for size in _SIZES.value]):
        cells = []
        for function in functions:
            prepare = preparation_of(hyperparameters, size=side)
            convert = functools.partial(embed, function, prepare=prepare, batch_size=500)
            places = np.searchsorted(used, visible), np.arange(len(used))
            task = Task(convert(train, positions=used), train.labels[used], *places, convert(test), 1)
            cells += [float(np.mean(EVALUATORS[column].classes(task) == test.labels)) for column in _COLUMNS]
        print(f"| {name} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    quiet.run(main)
