"""What every method must do: the same step eagerly, as a graph, by XLA, over replicas, in micro-batches and in bfloat16."""

import inspect
import math
import textwrap
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers import embedding_queue
from semppl.tests import testing, tiny
from semppl.trainers import pretrain, semppl
from semppl.trainers.methods import METHODS, find_method

_CHANGES = {"supervised": {"labelled_batch_size": 16, "queue_size": 16}}
_SIAMESE = sorted(set(METHODS) - {"supervised"})


def _settings(method, **changes):
    return tiny.settings(method=method, **(_CHANGES.get(method, {}) | changes))


def _model(settings, optimiser=None):
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    if optimiser is not None:
        optimiser.build(model.trained_variables())
        model.compile(optimizer=optimiser)
    return model


def _host_batch(number, settings):
    batch = tiny.batch(number, settings)
    if settings["method"] == "supervised":
        batch["labels"] = batch["truth"]
    return batch


def _batch(number, settings):
    return {name: tf.constant(value) for name, value in _host_batch(number, settings).items()}


class DoubleQueue(embedding_queue.EmbeddingQueue):
    """A queue in float64, so that nothing of a step is rounded to float32."""

    def _state(self, name, shape, dtype, fill):
        return super()._state(name, shape, tf.float64 if dtype == tf.float32 else dtype, fill)


def _use_float64(test):
    test.addCleanup(tf.keras.backend.set_floatx, tf.keras.backend.floatx())
    test.addCleanup(tf.keras.mixed_precision.set_global_policy, tf.keras.mixed_precision.global_policy())
    tf.keras.backend.set_floatx("float64")
    tf.keras.mixed_precision.set_global_policy("float64")
    test.enter_context(mock.patch.object(semppl, "EmbeddingQueue", DoubleQueue))


class MethodsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*sorted(METHODS))
    def test_the_step_is_an_algorithm_of_at_most_20_lines(self, name):
        source = inspect.getsource(find_method(name).train_step)
        body = textwrap.dedent(source).split('"""')[-1].strip().splitlines()
        self.assertLessEqual(len(body), 20)

    @parameterized.product(name=_SIAMESE, jit_compile=[False, True])
    def test_compiled_steps_are_those_taken_eagerly(self, name, jit_compile):
        settings = _settings(name, negatives=3, small_views=0)
        eager, model = (_model(settings, tf.keras.optimizers.SGD(0.05)) for _ in range(2))
        step = tf.function(model.train_step, jit_compile=jit_compile, autograph=False)
        for number in range(2):
            batch = _batch(number, settings)
            expected, report = eager.train_step(batch), step(batch)
            self.assertCountEqual(report, expected)
            for key, value in expected.items():
                self.assertAllClose(report[key], value, rtol=5e-5, atol=1e-5, msg=f"{key} of step {number}")

    @parameterized.parameters(*_SIAMESE)
    def test_two_replicas_take_the_steps_of_one(self, name):
        _use_float64(self)
        settings = _settings(name, small_views=0, optimiser="adamw", learning_rate=0.05)

        def history(strategy):
            with strategy.scope():
                model = _model(settings)
            step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)), autograph=False)
            for number in range(3):
                batch = tiny.distribute(_host_batch(number, settings), strategy, settings["labelled_batch_size"])
                report = step(batch)
                yield (
                    {
                        key: [v.numpy() for v in strategy.experimental_local_results(value)]
                        for key, value in report.items()
                    },
                    [(v.name, [c.numpy() for c in strategy.experimental_local_results(v)]) for v in model.variables],
                )

        several, one = history(testing.replicas(2)), history(testing.replicas(1))
        for (report, variables), (expected_report, expected_variables) in zip(several, one, strict=True):
            for key, copies in report.items():
                bound = 1e-6 if copies[0].dtype == np.float32 else 1e-9
                for copy in copies:
                    self.assertAllClose(copy, expected_report[key][0], rtol=bound, atol=bound, msg=key)
            for (key, copies), (_, (expected,)) in zip(variables, expected_variables, strict=True):
                for copy in copies:
                    self.assertAllClose(copy, expected, rtol=1e-9, atol=1e-9, msg=key)

    @parameterized.parameters(*_SIAMESE)
    def test_the_update_is_the_slope_of_the_loss(self, name):
        # Along the gradient the loss rises by the square of its norm; without SemPPL's invariance, whose teachers move along.
        _use_float64(self)
        settings, rate = _settings(name, invariance_weight=0.0, small_views=0), 0.05
        model, batch = _model(settings, tf.keras.optimizers.SGD(rate)), _batch(0, settings)
        model.train_step(_batch(1, settings))
        every = [*model.variables, *model.optimizer.variables]
        start, trained = [v.numpy() for v in every], model.trained_variables()
        before = [v.numpy() for v in trained]
        report = model.train_step(batch)
        gradients = [(old - v.numpy()) / rate for old, v in zip(before, trained, strict=True)]
        square = sum(np.sum(gradient**2) for gradient in gradients)
        self.assertAllClose(report["gradient_norm"], math.sqrt(square), rtol=1e-9)
        losses = []
        for delta in (1e-6, -1e-6):
            for variable, value in zip(every, start, strict=True):
                variable.assign(value)
            for variable, gradient in zip(trained, gradients, strict=True):
                variable.assign_add(delta * gradient)
            losses.append(float(model.train_step(batch)["loss"]))
        self.assertGreater(square, 1e-6)
        self.assertAllClose((losses[0] - losses[1]) / 2e-6, square, rtol=1e-5)

    @parameterized.parameters(*_SIAMESE)
    def test_with_group_norm_micro_batches_change_nothing(self, name):
        def step(parts):
            settings = _settings(name, norm="group", small_views=0, accumulate_steps=parts)
            model = _model(settings, tf.keras.optimizers.SGD(0.05))
            report = tf.function(model.train_step, autograph=False)(_batch(0, settings))
            return report, [v.numpy() for v in model.variables]

        (report, variables), (expected_report, expected) = step(4), step(1)
        for key, value in expected_report.items():
            self.assertAllClose(report[key], value, rtol=1e-5, atol=1e-5, msg=key)
        for value, other in zip(variables, expected, strict=True):
            self.assertAllClose(value, other, rtol=1e-5, atol=1e-5)

    @parameterized.parameters(*_SIAMESE)
    def test_a_step_in_bfloat16_is_finite_and_near(self, name):
        losses = [
            float(_model(settings, tf.keras.optimizers.SGD(0.05)).train_step(_batch(0, settings))["loss"])
            for settings in (
                _settings(name, small_views=0, precision=precision) for precision in ("float32", "bfloat16")
            )
        ]
        self.assertAllClose(losses[1], losses[0], rtol=0.1, atol=0.1)

    @parameterized.parameters(*_SIAMESE)
    def test_without_labels_in_the_batch_nothing_is_nan(self, name):
        settings = _settings(name, small_views=0)
        batch = _batch(0, settings)
        batch["labels"] = tf.fill([16], -1)
        for value in _model(settings, tf.keras.optimizers.SGD(0.05)).train_step(batch).values():
            self.assertAllEqual(tf.math.is_finite(value), True)

    def test_an_unknown_method_is_refused_with_all_names(self):
        with self.assertRaisesRegex(
            ValueError, "^--method must be one of byol, .*semppl, simclr, supervised. Received: byoll$"
        ):
            pretrain.check_names(Hyperparameters(**_settings("byoll")))

    def test_a_setting_of_one_method_is_refused_for_another(self):
        with self.assertRaisesRegex(ValueError, "^--simclr_class_prior must be 0.0 with --method=byol. Received: 0.1$"):
            Hyperparameters(**_settings("byol", simclr_class_prior=0.1))


if __name__ == "__main__":
    tf.test.main()
