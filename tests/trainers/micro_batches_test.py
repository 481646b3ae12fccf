"""Tests of semppl.trainers.micro_batches, in whole steps too: --accumulate_steps and --gradient_checkpointing."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.blocks import normalisation
from semppl.tests import testing, tiny
from semppl.trainers import micro_batches, pretrain

_TINY_RESNET = {"encoder": "resnet18_cifar", "small_views": 0}


def _step(settings, replicas=1):
    """Takes a step; returns what it reports, and all variables by name."""
    strategy = testing.replicas(replicas)
    with strategy.scope():
        model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    batch = tiny.batch(0, settings)
    if settings.get("method") == "supervised":
        batch["labels"] = batch["truth"]
    batch = tiny.distribute(batch, strategy, settings["labelled_batch_size"])
    report = tf.function(lambda: strategy.run(model.train_step, args=(batch,)))()
    first = {name: strategy.experimental_local_results(value)[0].numpy() for name, value in report.items()}
    return first, {f"{i} {v.name}": v.numpy() for i, v in enumerate([*model.variables, *model.optimizer.variables])}


class ForwardTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2, 3)
    def test_predictions_and_gradients_are_those_of_the_whole_batch(self, parts):
        rng = np.random.default_rng(0)
        views = {"large": tf.constant(rng.normal(size=[2, 6, 4])), "small": tf.zeros([0, 6, 2], tf.float64)}
        weights = tf.Variable(rng.normal(size=[4, 3]))
        upstream = tf.constant(rng.normal(size=[2, 6, 3]))
        seen = []

        def predict(part):
            seen.append(part["large"].shape[1])
            return tf.einsum("vbd,de->vbe", part["large"], weights)

        predictions, backward = micro_batches.forward(predict, views, [weights], parts=parts)
        self.assertAllClose(predictions, np.einsum("vbd,de->vbe", views["large"], weights), rtol=1e-12)
        (gradient,) = backward(upstream)
        self.assertAllClose(gradient, np.einsum("vbd,vbe->de", views["large"], upstream), rtol=1e-12)
        self.assertEqual(seen, [6 // parts] * (1 if parts == 1 else 2 * parts))

    def test_rows_are_dealt_in_turns(self):
        # Labelled rows come first: a part must not get all of them.
        views, parts = {"large": tf.reshape(tf.range(6.0), [1, 6, 1])}, []
        micro_batches.predict_in_parts(lambda part: parts.append(part["large"]) or part["large"], views, parts=2)
        self.assertAllEqual(tf.stack(parts)[:, 0, :, 0], [[0, 2, 4], [1, 3, 5]])

    @parameterized.parameters(1, 2)
    def test_averages_of_batch_norm_move_once_a_part(self, parts):
        # From 0, with momentum 0.5, by the means m of the parts: 0.5·m₁, then 0.25·m₁ + 0.5·m₂.
        norm = normalisation.BatchNorm(momentum=0.5)
        images = np.random.default_rng(1).normal(size=[1, 4, 3]).astype(np.float32)
        norm.build([None, 3])
        _, backward = micro_batches.forward(
            lambda part: norm(part["large"][0], training=True)[tf.newaxis],
            {"large": tf.constant(images)},
            norm.trainable_variables,
            parts=parts,
        )
        backward(tf.ones([1, 4, 3]))
        means = [images[0, part::parts].mean(0) for part in range(parts)]
        expected = 0.5 * means[0] if parts == 1 else 0.25 * means[0] + 0.5 * means[1]
        self.assertAllClose(norm.moving_mean, expected, rtol=1e-5, atol=1e-6)


class StepTest(tf.test.TestCase, parameterized.TestCase):
    def _assert_same(self, steps, expected_steps, tolerance):
        for step, expected in zip(steps, expected_steps, strict=True):
            self.assertCountEqual(step, expected)
            for name, value in expected.items():
                self.assertAllClose(step[name], value, rtol=tolerance, atol=tolerance, msg=name)

    @testing.slow
    def test_with_group_norm_micro_batches_of_two_replicas_change_nothing(self):
        settings = tiny.settings(norm="group", small_views=0)
        self._assert_same(_step(settings | {"accumulate_steps": 4}, 2), _step(settings), 1e-5)

    @parameterized.parameters((4, "semppl"), (2, "supervised"))
    def test_with_group_norm_micro_batches_change_nothing(self, parts, method):
        changes = {"method": method, "labelled_batch_size": 16, "queue_size": 16} if method == "supervised" else {}
        settings = tiny.settings(norm="group", small_views=0, **changes)
        self._assert_same(_step(settings | {"accumulate_steps": parts}, 1), _step(settings), 1e-5)

    @testing.slow
    def test_with_batch_norm_two_replicas_take_the_step_of_one(self):
        # A micro-batch holds the same images on any number of replicas, if they share both kinds of rows equally.
        settings = tiny.settings(accumulate_steps=2, small_views=0, learning_rate=1.6, temperature=0.5)
        self._assert_same(_step(settings, replicas=2), _step(settings), 1e-5)

    @parameterized.parameters((1, 1), (2, 1), (1, 2))
    @testing.slow
    def test_checkpointing_changes_nothing(self, parts, replicas):
        settings = tiny.settings(**_TINY_RESNET, accumulate_steps=parts, learning_rate=1.6)
        checkpointed = _step(settings | {"gradient_checkpointing": True}, replicas)
        # Two replicas add their gradients in an order of their own; in float64 both are the same to 1e-12.
        self._assert_same(checkpointed, _step(settings, replicas), 1e-6 if replicas == 1 else 1e-5)


if __name__ == "__main__":
    tf.test.main()
