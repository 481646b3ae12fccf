"""Tests of semppl.trainers.optimisers.lamb."""

import math
import pathlib
import subprocess
import sys
import unittest

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs.checkpoints import RunCheckpoints
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.optimisers import registry, schedules

_STEP = {
    "optimiser": "lamb",
    "learning_rate": 0.8,
    "weight_decay": 0.1,
    "small_views": 0,
    "precision": "bfloat16",
    "accumulate_steps": 2,
    "encoder_rate_factor": 0.5,
}


def _oracle(weight, gradients, *, rates, weight_decay, beta_1, adapted, beta_2=0.999, epsilon=1e-6):
    weight = np.array(weight, np.float64)
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for number, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        step = np.zeros_like(weight)
        for index in np.ndindex(*weight.shape):
            first[index] = beta_1 * first[index] + (1 - beta_1) * gradient[index]
            second[index] = beta_2 * second[index] + (1 - beta_2) * gradient[index] ** 2
            mean, square = first[index] / (1 - beta_1**number), second[index] / (1 - beta_2**number)
            step[index] = mean / (math.sqrt(square) + epsilon)
            if adapted:
                step[index] += weight_decay * weight[index]
        norms = [math.sqrt(sum(value**2 for value in values.flat)) for values in (weight, step)]
        ratio = norms[0] / norms[1] if adapted and min(norms) > 0 else 1.0
        for index in np.ndindex(*weight.shape):
            weight[index] -= rate * ratio * step[index]
    return weight


def _model():
    settings = Hyperparameters(**tiny.settings(**_STEP))
    return pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)


def _batch(number):
    return {name: tf.constant(value) for name, value in tiny.batch(number, tiny.settings(small_views=0)).items()}


@unittest.skipUnless(testing.HAS_ADDONS, "tensorflow-addons is not installed")
class LAMBTest(tf.test.TestCase):
    def test_lamb_matches_plain_loops_and_follows_its_schedule(self):
        rng = np.random.default_rng(0)
        starts = {name: rng.standard_normal((2, 3)) for name in ("beta/kernel", "bias/bias", "norm/gamma", "x/beta")}
        starts["zero/kernel"] = np.zeros((2, 3))
        gradients = {name: rng.standard_normal((4, 2, 3)) for name in starts}
        weights = {name: tf.Variable(start, name=name, dtype=tf.float32) for name, start in starts.items()}
        schedule = schedules.WarmupCosine(peak=0.2, warmup_steps=2, total_steps=6)
        optimiser = registry.make_optimiser("lamb", learning_rate_schedule=schedule, weight_decay=0.5, momentum=0.7)
        optimiser.build(list(weights.values()))
        for step in range(4):
            pairs = [(tf.constant(gradients[name][step], tf.float32), weights[name]) for name in weights]
            optimiser.apply_gradients(pairs)
            self.assertAllClose(optimiser.learning_rate, schedule(step), rtol=1e-6, atol=0)
        for name, weight in weights.items():
            expected = _oracle(
                starts[name],
                gradients[name],
                rates=[float(schedule(step)) for step in range(4)],
                weight_decay=0.5,
                beta_1=0.7,
                adapted="kernel" in name,
            )
            self.assertAllClose(weight, expected, rtol=1e-5, atol=1e-6)

    def test_a_run_that_is_saved_goes_on_as_if_it_had_not_been(self):
        start, whole, first, second = (_model() for _ in range(4))
        for number in range(2):
            report = whole.train_step(_batch(number))
        self.assertTrue(np.isfinite(report["loss"]))
        workdir = pathlib.Path(self.create_tempdir().full_path)
        first.train_step(_batch(0))
        RunCheckpoints(first, workdir).save()
        self.assertEqual(RunCheckpoints(second, workdir).restore(), 1)
        second.train_step(_batch(1))
        for variable, expected, before in zip(second.variables, whole.variables, start.variables, strict=True):
            self.assertAllEqual(variable, expected)
            if "kernel" in variable.name and "online" in variable.name:
                self.assertNotAllClose(variable, before, rtol=1e-3, atol=1e-3)
        for variable, expected in zip(second.optimizer.variables, whole.optimizer.variables, strict=True):
            self.assertAllEqual(variable, expected)

    def test_the_import_says_nothing_and_waits_until_lamb_is_made(self):
        program = (
            "import sys\nfrom semppl.trainers.optimisers import registry\nprint('tensorflow_addons' in sys.modules)\n"
            "registry.make_optimiser('lamb', learning_rate_schedule=0.1, weight_decay=0.1)\n"
            "print('tensorflow_addons' in sys.modules)"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual((ended.stdout, ended.stderr), ("False\nTrue\n", ""))


if __name__ == "__main__":
    tf.test.main()
