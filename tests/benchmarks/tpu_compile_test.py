"""Tests of semppl.benchmarks.tpu_compile: what needs no compiler for TPUs."""

import contextlib
import io
import pathlib
from unittest import mock

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from semppl import configs
from semppl.benchmarks import tpu_compile
from semppl.benchmarks.instruments import aot_compiler, hlo
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags
from semppl.tests import pyproject, testing

_FOLDER = pathlib.Path(configs.__file__).resolve().parent


def _parse(preset, *arguments, replicas=1):
    with flagsaver.flagsaver():
        flags.FLAGS(["tpu_compile", "--workdir=unused", f"--flagfile={_FOLDER / preset}", *arguments])
        return tpu_compile.resolved(hyperparameters_from_flags(), replicas)


class TpuCompileTest(tf.test.TestCase):
    @testing.slow
    def test_the_step_of_digits_neither_calls_the_host_nor_has_open_shapes(self):
        module = tpu_compile.step_program(_parse("digits.flags"))
        self.assertEqual(hlo.problems(module), [])
        # The views come as crops of the right size, and are finished within the step.
        shapes = [list(shape.dimensions) for shape in module.host_program_shape.parameters]
        self.assertIn([2, 128, 8, 8, 1], shapes)
        self.assertIn([128, 2], shapes)

    def test_a_replica_gets_its_share_of_the_batch(self):
        settings = _parse("imagenet_1_percent_resnet50.flags", "--labelled_batch_size=64", replicas=64)
        spec = tpu_compile.batch_spec(settings, 64)
        self.assertEqual((spec["large"].shape, spec["small"].shape), ([4, 64, 224, 224, 3], [2, 64, 96, 96, 3]))
        self.assertEqual((settings.batch_size, settings.capacity), (4096, 81920))

    def test_the_extra_and_the_advice_name_the_same_versions(self):
        extra = pyproject.project()["optional-dependencies"]
        self.assertCountEqual(extra["tpu-check"], [f"{name}=={version}" for name, version in aot_compiler.PINS.items()])

    def test_without_a_compiler_nothing_is_lowered(self):
        printed = io.StringIO()
        with flagsaver.flagsaver(), mock.patch.object(tpu_compile, "step_program") as lowering:
            flags.FLAGS(["tpu_compile", "--workdir=unused", f"--flagfile={_FOLDER / 'digits.flags'}"])
            with contextlib.redirect_stderr(printed):
                self.assertEqual(tpu_compile.main(["tpu_compile"]), 2)
        lowering.assert_not_called()
        self.assertRegex(printed.getvalue(), "^error: --jax_python must be .*\n$")

    def test_sizes_are_told_in_gibibytes(self):
        cost = hlo.Cost("v5e:2x2", 2.5e12, 3e9, 2**30, 2**31, 2**29)
        self.assertEqual(tpu_compile.row(cost, 64), "| v5e:2x2 | 64 | 1.00 | 2.00 | 0.50 | 2.500 | 3.0 |")


if __name__ == "__main__":
    assert testing
    tf.test.main()
