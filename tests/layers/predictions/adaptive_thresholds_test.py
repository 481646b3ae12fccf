"""Tests of semppl.layers.predictions.adaptive_thresholds."""

import numpy as np
import tensorflow as tf

from semppl.layers.predictions.adaptive_thresholds import AdaptiveThresholds


def _probabilities(seed, count=7):
    return np.random.default_rng(seed).dirichlet(np.ones(3) / 2, count).astype(np.float32)


class AdaptiveThresholdsTest(tf.test.TestCase):
    def test_a_new_layer_asks_for_the_confidence_of_chance(self):
        self.assertAllClose(AdaptiveThresholds(4).thresholds(), [0.25] * 4)

    def test_it_follows_the_included_predictions_in_plain_loops(self):
        layer = AdaptiveThresholds(3, decay=0.8)
        confidence, mean, shares = 1 / 3, [1 / 3] * 3, [1 / 3] * 3
        for step in range(3):
            probabilities, included = _probabilities(step), np.arange(7) % 3 != step
            layer.update(tf.constant(probabilities), tf.constant(included))
            rows = [row for row, chosen in zip(probabilities, included, strict=True) if chosen]
            confidence = 0.8 * confidence + 0.2 * sum(max(row) for row in rows) / len(rows)
            for c in range(3):
                mean[c] = 0.8 * mean[c] + 0.2 * sum(row[c] for row in rows) / len(rows)
                shares[c] = 0.8 * shares[c] + 0.2 * sum(row[c] == max(row) for row in rows) / len(rows)
        self.assertAllClose(layer.confidence, confidence, rtol=1e-6)
        self.assertAllClose(layer.probabilities, mean, rtol=1e-6)
        self.assertAllClose(layer.shares, shares, rtol=1e-6)
        self.assertAllClose(layer.thresholds(), [confidence * p / max(mean) for p in mean], rtol=1e-6)

    def test_a_batch_without_an_included_image_changes_nothing(self):
        layer = AdaptiveThresholds(3, decay=0.8)
        layer.update(tf.constant(_probabilities(0)), tf.ones([7], tf.bool))
        before = [variable.numpy() for variable in layer.variables]
        layer.update(tf.constant(_probabilities(1)), tf.zeros([7], tf.bool))
        for variable, value in zip(layer.variables, before, strict=True):
            self.assertAllEqual(variable, value)

    def test_the_published_decay_is_the_default(self):
        self.assertEqual(AdaptiveThresholds(3).decay, 0.999)


if __name__ == "__main__":
    tf.test.main()
