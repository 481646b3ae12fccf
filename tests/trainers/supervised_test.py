"""Tests of semppl.trainers.supervised."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.tests import testing, tiny
from semppl.trainers import supervised


def _settings(**changes):
    return tiny.settings(method="supervised", labelled_batch_size=16, queue_size=16, **changes)


def _model(settings, rate=0.05):
    tf.keras.utils.set_random_seed(settings["seed"])
    model = supervised.Supervised(Hyperparameters(**settings), tiny.NUM_CLASSES)
    optimiser = tf.keras.optimizers.SGD(rate)
    optimiser.build(model.trained_variables())
    model.compile(optimizer=optimiser)
    return model


def _batch(number, settings):
    return {name: tf.constant(value) for name, value in tiny.batch(number, settings).items()}


def _values(variables):
    return [variable.numpy() for variable in variables]


class SupervisedTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((2, 1, 0.0), (1, 0, 0.3))
    def test_loss_and_accuracy_match_plain_loops(self, large_views, small_views, smoothing):
        settings = _settings(large_views=large_views, small_views=small_views, supervised_label_smoothing=smoothing)
        model, batch = _model(settings), _batch(0, settings)
        kernel, bias = model.classifier.kernel.numpy(), model.classifier.bias.numpy()
        losses, right = [], []
        for view in [*batch["large"], *batch["small"]]:
            for features, label in zip(model.online.features(view, training=True), batch["labels"], strict=True):
                logits = features.numpy() @ kernel + bias
                log_sum = math.log(sum(math.exp(logit) for logit in logits))
                spread = log_sum - sum(logits) / len(logits)
                losses.append((1 - smoothing) * (log_sum - logits[label]) + smoothing * spread)
                right.append(logits[label] == max(logits))
        report = model.train_step(batch)
        self.assertCountEqual(report, ["loss", "train_accuracy", "gradient_norm"])
        self.assertAllClose(report["loss"], np.mean(losses), rtol=1e-5, atol=0)
        self.assertAllClose(report["train_accuracy"], np.mean(right), rtol=1e-6, atol=0)

    def test_the_update_is_the_slope_of_the_loss(self):
        self.addCleanup(tf.keras.backend.set_floatx, tf.keras.backend.floatx())
        self.addCleanup(tf.keras.mixed_precision.set_global_policy, tf.keras.mixed_precision.global_policy())
        tf.keras.backend.set_floatx("float64")
        tf.keras.mixed_precision.set_global_policy("float64")
        settings = _settings()
        model, batch, rate = _model(settings), _batch(0, settings), 0.05
        before = _values(model.trained_variables())
        report = model.train_step(batch)
        moved = _values(model.trained_variables())
        gradients = [(old - new) / rate for old, new in zip(before, moved, strict=True)]
        square = sum(np.sum(gradient**2) for gradient in gradients)
        self.assertAllClose(report["gradient_norm"], math.sqrt(square), rtol=1e-9, atol=0)
        losses = []
        for delta in (1e-6, -1e-6):
            for variable, old, gradient in zip(model.trained_variables(), before, gradients, strict=True):
                variable.assign(old + delta * gradient)
            losses.append(model.train_step(batch)["loss"])
        self.assertAllClose((losses[0] - losses[1]) / 2e-6, square, rtol=1e-5, atol=0)

    def test_views_that_come_as_crops_are_finished_first(self):
        settings = _settings(recipe="digits")
        seeds = tf.stack([tf.zeros([16], tf.int64), tf.range(16, dtype=tf.int64)], axis=1)
        batch = _batch(0, settings)
        report = _model(settings).train_step(batch | {"seeds": seeds})
        finished = finish_views(batch | {"seeds": seeds}, recipe="digits")
        for name, value in _model(settings).train_step(finished).items():
            self.assertAllEqual(report[name], value)
        self.assertNotAllClose(report["loss"], _model(settings).train_step(batch)["loss"])

    def test_projector_and_predictor_have_no_part(self):
        settings = _settings()
        model = _model(settings)
        heads = [*model.online.projector.variables, *model.online.predictor.variables]
        before = _values(heads), _values(model.trained_variables())
        model.train_step(_batch(0, settings))
        for variable, old in zip(heads, before[0], strict=True):
            self.assertAllEqual(variable, old)
        for variable, old in zip(model.trained_variables(), before[1], strict=True):
            self.assertNotAllEqual(variable, old)
        expected = [*model.online.encoder.trainable_variables, *model.classifier.trainable_variables]
        self.assertCountEqual(
            [variable.ref() for variable in model.trained_variables()], [variable.ref() for variable in expected]
        )

    def test_a_batch_with_unlabelled_rows_is_refused(self):
        hyperparameters = Hyperparameters(**_settings() | {"labelled_batch_size": 4})
        message = "labelled_batch_size must be batch_size=16 with --method=supervised. Received: 4"
        with self.assertRaisesRegex(ValueError, message):
            supervised.Supervised(hyperparameters, tiny.NUM_CLASSES)

    def test_two_replicas_take_the_steps_of_one(self):
        settings, strategy = _settings(), testing.two_replicas()
        alone = _model(settings, rate=0.01)
        with strategy.scope():
            model = _model(settings, rate=0.01)
        step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)), autograph=False)
        for number in range(2):
            expected = alone.train_step(_batch(number, settings))
            report = step(tiny.distribute(tiny.batch(number, settings), strategy, 16))
            for name, value in expected.items():
                for copy in strategy.experimental_local_results(report[name]):
                    self.assertAllClose(copy, value, rtol=2e-6, atol=1e-6, msg=name)
            for variable, partner in zip(model.variables, alone.variables, strict=True):
                for copy in strategy.experimental_local_results(variable):
                    self.assertAllClose(copy, partner, rtol=1e-6, atol=1e-6, msg=variable.name)


if __name__ == "__main__":
    tf.test.main()
