"""Compiles the train step of a run with the TPU compiler and reports its cost, without a TPU.

    python -m semppl.benchmarks.tpu_compile --flagfile=configs/digits.flags --jax_python=.venv-tpu/bin/python

Compiles the step of one replica, views finished on the device as on a TPU, for one core of each of --topologies. With
--replicas=64 it is the step of one of 64, with the global batch, queue and sums over replicas of their real size, but what comes
from the others is left out. This proves that the step compiles and how much memory it takes; not that it runs, what numbers a
TPU computes, or how its cores talk to each other. No data are read: a run that names its data by a path needs none here.
"""

from semppl.programs import quiet  # before TensorFlow

# isort: split

import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.instruments import hlo
from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import command_line, run_flags
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags
from semppl.trainers import pretrain

JAX_PYTHON = flags.DEFINE_string("jax_python", "", "Python interpreter with jax and libtpu.")
TOPOLOGIES = flags.DEFINE_list("topologies", ["v4:2x2x1", "v5e:2x2"], "TPU slices to compile for, comma-separated.")
REPLICAS = flags.DEFINE_integer("replicas", 1, "Number of cores that share --batch_size.", lower_bound=1)

_NUM_CLASSES = 1000
_NUM_IMAGES = 1_281_167  # for the length of the run, which the program holds as a number only
_COLUMNS = ("TPU", "images a core", "arguments", "temporaries", "code", "TFLOP", "GB accessed")


def step_program(settings: Hyperparameters, replicas: int = 1) -> hlo.hlo_pb2.HloModuleProto:
    """Lowers the train step of a replica.

    Args:
        settings: Resolved hyper-parameters.
        replicas: Number of replicas that share a batch.
    """
    inputs = batch_spec(settings, replicas)
    with hlo.one_of(replicas):
        model = pretrain.build_model(settings, _NUM_CLASSES, jit_compile=True)
        return hlo.lower(lambda *values: model.train_step(dict(zip(inputs, values, strict=True))), *inputs.values())


def batch_spec(settings: Hyperparameters, replicas: int) -> dict[str, tf.TensorSpec]:
    """Returns the specification of a replica's input on a TPU: crops that the device finishes."""
    rows = settings.batch_size // replicas
    large, small = settings.large_size, settings.small_size
    return {
        "large": tf.TensorSpec([settings.large_views, rows, large, large, settings.channels]),
        "small": tf.TensorSpec([settings.small_views, rows, small, small, settings.channels]),
        "seeds": tf.TensorSpec([rows, 2], tf.int64),
        "labels": tf.TensorSpec([rows], tf.int32),
        "truth": tf.TensorSpec([rows], tf.int32),
        "groups": tf.TensorSpec([rows], tf.int64),
    }


def resolved(settings: Hyperparameters, replicas: int) -> Hyperparameters:
    """Resolves hyper-parameters without the data; a batch whose labelled images the data decide gets a hundredth."""
    settings = settings.resolved(num_images=_NUM_IMAGES, num_labelled=_NUM_IMAGES // 100, replicas=replicas)
    pretrain.check_names(settings)
    return settings


def row(cost: hlo.Cost, images: int) -> str:
    """Writes a table's row; memory in GiB."""
    gibibytes = [f"{size / 2**30:.2f}" for size in (cost.arguments, cost.temporaries, cost.code)]
    counts = [f"{cost.flops / 1e12:.3f}", f"{cost.accessed / 1e9:.1f}"]
    return "| " + " | ".join([cost.topology, str(images), *gibibytes, *counts]) + " |"


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table, memory in GiB. Exit code 2: not compiled."""
    del argv
    hlo.check_compiler(JAX_PYTHON.value)
    settings = resolved(hyperparameters_from_flags(), REPLICAS.value)
    module = step_program(settings, REPLICAS.value)
    print("| " + " | ".join(_COLUMNS) + " |\n|" + "---|" * len(_COLUMNS), flush=True)
    for cost in hlo.compile_ahead(module, TOPOLOGIES.value, JAX_PYTHON.value):
        print(row(cost, settings.batch_size // REPLICAS.value), flush=True)
    return 0


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main, flags_parser=command_line.parse)
