"""Tests of semppl.benchmarks.scaling."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest

import semppl
from semppl.benchmarks import scaling
from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import testing

_CHIP = scaling.Chip(flops=1e12, memory_bandwidth=1e9, utilisation=0.5, link_bandwidth=1e6, latency=1e-3, hop=1e-4)


def _step(chips, **changes):
    counts = {"images": 8, "flops": 16e12, "accessed": 4e9, "parameters": 1000, "norm_layers": 2} | changes
    settings = Hyperparameters(
        labels_per_class=1, batch_size=64, large_views=2, small_views=4, large_size=20, small_size=10, embedding_width=4
    )
    return scaling.step(settings, chips, **counts, chip=_CHIP)


def _run(*arguments):
    program = [sys.executable, "-m", "semppl.benchmarks.scaling"]
    command = [*program, "--labels_per_class=1", *arguments]
    root = str(pathlib.Path(semppl.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class ScalingTest(absltest.TestCase):
    def test_the_slower_of_arithmetic_and_memory_counts(self):
        # 8 images a chip: 16 s of arithmetic at peak and 4 s of memory, both at half speed.
        self.assertAlmostEqual(_step(8).networks, 32)
        self.assertAlmostEqual(_step(8, accessed=40e9).networks, 80)

    def test_more_images_than_fit_go_forward_once_more(self):
        # Views of an image: 2 + 4/4 = 3 large ones, forward; 3·3 for online forward and back, 2 for the target.
        step = _step(4)
        self.assertEqual(step.parts, 2)
        self.assertAlmostEqual(step.networks, 64 * (1 + 3 / 11))

    def test_sums_move_twice_what_the_others_have(self):
        # Eight chips are 2 × 2 × 2: a hop in each of three directions.
        step, wait = _step(8), 1e-3 + 3 * 1e-4
        self.assertAlmostEqual(step.gradient, wait + 2 * 7 / 8 * 4000 / 1e6)
        self.assertAlmostEqual(step.gather, wait + 2 * 7 / 8 * 64 * (4 * 2 * 4 + 12) / 1e6)
        self.assertAlmostEqual(step.batch_norm, (3 * 6 * 2 + 2 * 2) * wait)
        self.assertAlmostEqual(step.seconds, step.networks + step.gather + step.gradient + step.batch_norm)

    def test_one_chip_moves_nothing(self):
        self.assertAlmostEqual(_step(1).gradient, 1e-3)

    def test_the_counts_must_be_given(self):
        done = _run("--tflop=5")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, "^error: --gigabytes_accessed must be a number. Received: None\n$")

    def test_counts_of_nothing_leave_what_replicas_tell_each_other(self):
        done = _run("--tflop=0", "--gigabytes_accessed=0", "--batch_size=1024", "--labelled_batch_size=256")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| v4-")]
        self.assertEqual([row[0] for row in rows], [f"| v4-{cores}" for cores in (8, 16, 32, 64, 128, 256, 512)])
        self.assertEqual([row[2] for row in rows], ["256", "128", "64", "32", "16", "8", "4"])
        self.assertEqual({row[4] for row in rows}, {"0.0"})
        self.assertNotIn("0.0", {row[6] for row in rows})


if __name__ == "__main__":
    assert testing
    absltest.main()
