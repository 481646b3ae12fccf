"""Tests of `build_model` of semppl.trainers.pretrain."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import testing, tiny
from semppl.trainers import pretrain, semppl, supervised
from semppl.trainers.optimisers import lars

_SUPERVISED = {"method": "supervised", "labelled_batch_size": 16, "queue_size": 16}


def _build(jit_compile=False, **changes):
    return pretrain.build_model(Hyperparameters(**tiny.settings(**changes)), tiny.NUM_CLASSES, jit_compile=jit_compile)


def _batch(number):
    return {name: tf.constant(value) for name, value in tiny.batch(number, tiny.settings()).items()}


def _all_variables(model):
    return [*model.variables, *model.optimizer.variables]


class BuildModelTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_method_has_its_model(self):
        self.assertIs(type(_build()), semppl.SemPPL)
        self.assertIs(type(_build(**_SUPERVISED)), supervised.Supervised)

    def test_the_learning_rate_is_scaled_warmed_up_and_let_down(self):
        schedule = _build(learning_rate=0.8, warmup_steps=4, steps=20).optimizer._learning_rate
        peak = 0.8 * 16 / 256
        for step in range(21):
            cosine = (1 + math.cos(math.pi * (step - 4) / 16)) / 2
            self.assertAllClose(schedule(step), peak * (step / 4 if step < 4 else cosine), rtol=1e-5, atol=1e-9)

    def test_lars_gets_its_settings(self):
        optimiser = _build(weight_decay=0.03, momentum=0.7, trust_coefficient=0.002).optimizer
        self.assertIsInstance(optimiser, lars.LARS)
        self.assertEqual((optimiser.weight_decay, optimiser.momentum, optimiser.trust_coefficient), (0.03, 0.7, 0.002))

    def test_adamw_gets_its_settings(self):
        optimiser = _build(optimiser="adamw", weight_decay=0.03, momentum=0.7).optimizer
        self.assertIsInstance(optimiser, tf.keras.optimizers.AdamW)
        self.assertEqual((optimiser.weight_decay, optimiser.beta_1), (0.03, 0.7))

    @parameterized.parameters({}, _SUPERVISED)
    def test_all_variables_are_there_before_the_first_step(self, **changes):
        model = _build(**changes)
        before = {variable.ref() for variable in _all_variables(model)}
        model.train_step(_batch(0) if not changes else _batch(0) | {"labels": tf.constant(_batch(0)["truth"])})
        self.assertEqual({variable.ref() for variable in _all_variables(model)}, before)

    @parameterized.parameters(False, True)
    def test_the_step_is_compiled_as_asked(self, jit_compile):
        self.assertEqual(_build(jit_compile=jit_compile).jit_compile, jit_compile)

    def test_the_seed_decides_the_weights(self):
        first, again, other = _build(seed=5), _build(seed=5), _build(seed=6)
        for variable, same, changed in zip(first.variables, again.variables, other.variables, strict=True):
            self.assertAllEqual(variable, same)
            if "kernel" in variable.name:
                self.assertNotAllEqual(variable, changed)

    def test_no_two_kernels_start_alike(self):
        kernels = [variable for variable in _build().variables if "kernel" in variable.name]
        self.assertLen(kernels, 12)
        for place, kernel in enumerate(kernels):
            for other in kernels[:place]:
                self.assertFalse(kernel.shape == other.shape and np.allclose(kernel, other), kernel.name)

    @parameterized.parameters(2, 4)
    def test_replicas_start_as_one_does(self, replicas):
        strategy, alone = testing.replicas(replicas), _build()
        with strategy.scope():
            model = _build()
        for variable, expected in zip(model.variables, alone.variables, strict=True):
            for copy in strategy.experimental_local_results(variable):
                self.assertAllEqual(copy, expected)

    def test_a_model_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(self):
        model, resumed = _build(), _build(seed=9)
        for number in range(2):
            model.train_step(_batch(number))
        path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(
            self.create_tempdir().full_path + "/run"
        )
        tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer).restore(path).assert_consumed()
        resumed.hyperparameters = model.hyperparameters  # the seed of the draws
        for number in (2, 3):
            expected, report = model.train_step(_batch(number)), resumed.train_step(_batch(number))
            for name, value in expected.items():
                self.assertAllEqual(report[name], value)
        for variable, expected in zip(_all_variables(resumed), _all_variables(model), strict=True):
            self.assertAllEqual(variable, expected)

    def test_fit_takes_the_steps(self):
        model, alone = _build(), _build()
        batches = tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda *values: tf.stack(values), *[_batch(number) for number in range(2)])
        )
        history = model.fit(batches, verbose=0).history
        for number in range(2):
            report = alone.train_step(_batch(number))
        for name, value in report.items():
            self.assertAllClose(history[name][0], value, rtol=1e-5, atol=1e-5, msg=name)
        for variable, expected in zip(model.variables, alone.variables, strict=True):
            self.assertAllClose(variable, expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    tf.test.main()
