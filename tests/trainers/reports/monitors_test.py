"""Tests of semppl.trainers.reports.monitors."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.labels import NO_LABEL
from semppl.layers.pseudo_labels import Votes
from semppl.tests import testing
from semppl.trainers.reports import monitors

# One column an image: labelled; unlabelled and right; wrong; right by luck of an unknown truth; without class; right.
_LABELS = np.array([2, -1, -1, -1, -1, -1, 0, -1], np.int32)
_TRUTH = np.array([2, 1, 0, -1, 1, 2, 0, 0], np.int32)
_CLASSES = np.array([0, 1, 2, 2, -1, 2, 0, 1], np.int32)
_CONFIDENCE = np.array([1.0, 0.5, 0.25, 0.75, 0.0, 1.0, 1.0, 0.5], np.float32)


_MEASURES = ("pseudo_label_accuracy", "pseudo_label_balanced_accuracy", "pseudo_label_coverage", "vote_confidence")
_NAMES = (*_MEASURES, "pseudo_labels_judged")


def _over_replicas(replicas, function, *values):
    """Runs a function on equal shares of `[..., B]` values (the last axis is dealt out); returns each replica's result."""
    strategy = testing.replicas(replicas)
    shares = [np.split(value, replicas, axis=-1) for value in values]
    if replicas == 1:
        arguments = [tf.constant(share[0]) for share in shares]
    else:
        arguments = [
            strategy.experimental_distribute_values_from_function(
                lambda context, share=share: tf.constant(share[context.replica_id_in_sync_group])
            )
            for share in shares
        ]

    @tf.function
    def run(*arguments):
        results = strategy.run(function, args=arguments)
        return [
            tf.nest.map_structure(lambda value, i=i: strategy.experimental_local_results(value)[i], results)
            for i in range(replicas)
        ]

    return run(*arguments)


def _report(labels, classes, confidence, truth):
    return monitors.vote_report(Votes(classes, confidence), labels, truth, num_classes=4)


class VoteReportTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2, 4)
    def test_unlabelled_images_of_the_global_batch_are_counted(self, replicas):
        # Unlabelled: 6; with a class: 5; of known truth: 4; right: 2. Confidences 0.5, 0.25, 0.75, 1, 0.5: mean 0.6.
        for report in _over_replicas(replicas, _report, _LABELS, _CLASSES, _CONFIDENCE, _TRUTH):
            self.assertCountEqual(report, _NAMES)
            self.assertAllEqual(report["pseudo_labels_judged"], 4.0)
            self.assertAllClose(report["pseudo_label_accuracy"], 2 / 4, rtol=1e-6, atol=0)
            # Of known truth and with a class: 1 (right), 0 (wrong), 2 (right), 0 (wrong). Shares 1, 0, 1; class 3 does not occur.
            self.assertAllClose(report["pseudo_label_balanced_accuracy"], 2 / 3, rtol=1e-6, atol=0)
            self.assertAllClose(report["pseudo_label_coverage"], 5 / 6, rtol=1e-6, atol=0)
            self.assertAllClose(report["vote_confidence"], 0.6, rtol=1e-6, atol=0)

    @parameterized.named_parameters(
        ("all are labelled", [0, 1], [0, 1], [0, 1]),
        ("nobody got a class", [NO_LABEL] * 2, [NO_LABEL] * 2, [0, 1]),
    )
    def test_the_report_is_zero_where_there_is_nothing_to_count(self, labels, classes, truth):
        votes = Votes(tf.constant(classes), tf.constant([0.5, 0.5]))
        report = monitors.vote_report(votes, tf.constant(labels), tf.constant(truth), num_classes=3)
        for value in report.values():
            self.assertAllEqual(value, 0.0)

    def test_without_any_truth_only_the_accuracy_is_zero(self):
        votes = Votes(tf.constant([1, NO_LABEL]), tf.constant([0.5, 0.0]))
        report = monitors.vote_report(votes, tf.constant([NO_LABEL] * 2), tf.constant([NO_LABEL] * 2), num_classes=3)
        self.assertAllEqual([report["pseudo_label_accuracy"], report["pseudo_label_coverage"]], [0.0, 0.5])
        self.assertAllEqual(report["vote_confidence"], 0.5)
        self.assertEqual(
            monitors.meaningful(report),
            {"pseudo_labels_judged": 0.0, "pseudo_label_coverage": 0.5, "vote_confidence": 0.5},
        )

    def test_an_accuracy_of_zero_is_told_where_an_image_was_judged(self):
        numbers = {"pseudo_labels_judged": tf.constant(1.0), "pseudo_label_accuracy": tf.constant(0.0)}
        self.assertEqual(monitors.meaningful(numbers), {"pseudo_labels_judged": 1.0, "pseudo_label_accuracy": 0.0})


class ShareTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2, 4)
    def test_the_share_is_that_of_the_global_batch(self, replicas):
        chosen = np.array([True, False, False, False, True, True, False, False])
        for value in _over_replicas(replicas, monitors.share, chosen):
            self.assertAllClose(value, 3 / 8, rtol=1e-6, atol=0)


class SpreadTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(1, 2, 4)
    def test_the_spread_is_that_of_the_global_batch(self, replicas):
        embeddings = (
            np.random.default_rng(0).standard_normal((3, 5, 8)).astype(np.float32)
        )  # [V,D,B]: the last is dealt
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        mean = np.zeros(5)
        for view, image in np.ndindex(3, 8):
            mean += embeddings[view, :, image] / 24
        results = _over_replicas(replicas, lambda values: monitors.spread(tf.transpose(values, [0, 2, 1])), embeddings)
        for value in results:
            self.assertAllClose(value, 1 - sum(mean**2), rtol=1e-6, atol=0)

    def test_one_point_has_none_and_opposite_points_have_all(self):
        point = tf.constant([[[0.6, 0.8]]])
        self.assertAllClose(monitors.spread(tf.repeat(point, 4, axis=1)), 0.0, rtol=0, atol=1e-6)
        self.assertAllClose(monitors.spread(tf.concat([point, -point], 0)), 1.0, rtol=0, atol=1e-6)


if __name__ == "__main__":
    tf.test.main()
