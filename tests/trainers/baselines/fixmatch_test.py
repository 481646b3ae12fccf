"""Tests of semppl.trainers.baselines.fixmatch."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.labels import NO_LABEL
from semppl.losses.baselines.confident_consistency import class_fairness
from semppl.tests import tiny
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain
from semppl.trainers.methods import find_method

_ADAPTIVE = {"fixmatch_adaptive_thresholds": True, "fixmatch_threshold_decay": 0.5}


def _make(**changes):
    settings = models.settings("fixmatch", **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


def _logits(model, batch):
    return [view.numpy().astype(np.float64) for view in model.predict(batch)[0]]


def _softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


class FixMatchTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((0.6, 1.0), (0.8, 2.5))
    def test_the_loss_is_that_of_the_labels_and_of_the_confident_pseudo_labels(self, threshold, weight):
        model, batch = _make(fixmatch_threshold=threshold, fixmatch_consistency_weight=weight)
        model.classifier.kernel.assign(3 * model.classifier.kernel)  # else no prediction is confident
        weak, strong = (_softmax(view) for view in _logits(model, batch))
        labels, consistency = batch["labels"].numpy(), []
        supervised = [-np.log(weak[b, labels[b]]) for b in range(16) if labels[b] >= 0]
        for b in range(16):
            if labels[b] < 0:
                consistency.append(-np.log(strong[b, weak[b].argmax()]) if weak[b].max() >= threshold else 0)
        chosen = sum(value > 0 for value in consistency)
        self.assertBetween(chosen, 1, 11)
        report = model.train_step(batch)
        self.assertAllClose(report["loss"], np.mean(supervised) + weight * np.mean(consistency), rtol=1e-5)
        self.assertAllClose(report["pseudo_label_coverage"], chosen / 12, rtol=1e-6)

    def test_labelled_images_get_no_pseudo_label(self):
        model, batch = _make(fixmatch_threshold=0.0)
        unlabelled = batch["labels"] == NO_LABEL
        votes = model.label(model.predict(batch)[0][0], unlabelled)
        self.assertAllEqual(votes.classes == NO_LABEL, ~unlabelled)

    def test_adaptive_thresholds_follow_the_batch_before_they_are_used(self):
        model, batch = _make(**_ADAPTIVE)
        weak = _softmax(_logits(model, batch)[0])
        unlabelled = batch["labels"].numpy() == NO_LABEL
        confidence = 0.5 / 3 + 0.5 * weak[unlabelled].max(axis=1).mean()
        mean = 0.5 / 3 + 0.5 * weak[unlabelled].mean(axis=0)
        least = confidence * mean / mean.max()
        votes = model.label(model.predict(batch)[0][0], tf.constant(unlabelled))
        expected = np.where(unlabelled & (weak.max(axis=1) >= least[weak.argmax(axis=1)]), weak.argmax(axis=1), -1)
        self.assertAllEqual(votes.classes, expected)
        self.assertBetween(np.sum(expected >= 0), 1, 11)

    def test_fairness_is_over_the_images_with_a_pseudo_label(self):
        model, batch = _make(**_ADAPTIVE)
        logits = model.predict(batch)[0]
        votes = model.label(logits[0], batch["labels"] == NO_LABEL)
        chosen = _softmax(logits[1].numpy()[votes.classes.numpy() >= 0])
        expected = class_fairness(
            tf.constant(chosen.mean(axis=0)),
            tf.constant(np.eye(3, dtype=np.float32)[chosen.argmax(axis=1)].mean(axis=0)),
            expected_mean=model.thresholds.probabilities,
            expected_shares=model.thresholds.shares,
        )
        self.assertAllClose(model.fairness(logits[1], votes.classes), expected, rtol=1e-5)
        self.assertAllEqual(model.fairness(logits[1], tf.fill([16], NO_LABEL)), 0)

    def test_the_fairness_term_has_its_weight(self):
        losses = [
            float(_make(**_ADAPTIVE, fixmatch_fairness_weight=w)[0].train_step(_make()[1])["loss"]) for w in (0.0, 0.5)
        ]
        model, batch = _make(**_ADAPTIVE)
        logits = model.predict(batch)[0]
        votes = model.label(logits[0], batch["labels"] == NO_LABEL)
        self.assertAllClose(losses[1] - losses[0], 0.5 * model.fairness(logits[1], votes.classes), rtol=1e-4)

    @parameterized.parameters(
        ("randaugment", "randaugment"),
        ("randaugment_digits", "randaugment_digits"),
        ("cifar", "randaugment"),
        ("digits", "randaugment_digits"),
    )
    def test_beside_other_methods_it_has_a_weak_and_a_strong_view(self, shared, expected):
        self.assertEqual(find_method("fixmatch").suitable_recipe(shared), expected)
        self.assertEqual(find_method("semppl").suitable_recipe(shared), shared)

    @parameterized.parameters(
        ("recipe", "cifar", "randaugment or randaugment_digits, which make a weak and a strong view,"),
        ("large_views", 3, "2"),
        ("small_views", 1, "0"),
        ("train", "heads", "all"),
    )
    def test_settings_without_a_weak_and_a_strong_view_are_refused(self, flag, value, allowed):
        changes = {"recipe": "randaugment", "large_views": 2, "small_views": 0, flag: value}
        if flag == "train":
            changes["initial_run"] = "run"
        settings = Hyperparameters(**models.settings("fixmatch", **changes))
        message = f"^--{flag} must be {allowed} with --method=fixmatch. Received: {value}$"
        with self.assertRaisesRegex(ValueError, message):
            pretrain.check_names(settings)

    @parameterized.parameters(
        (True, "threshold", 0.9), (False, "threshold_decay", 0.9), (False, "fairness_weight", 0.1)
    )
    def test_settings_of_thresholds_that_are_not_used_are_refused(self, adaptive, name, value):
        allowed = f"with --fixmatch_adaptive_thresholds={str(adaptive).lower()}. Received: {value}$"
        with self.assertRaisesRegex(ValueError, f"^--fixmatch_{name} must be .* {allowed}"):
            _make(fixmatch_adaptive_thresholds=adaptive, **{f"fixmatch_{name}": value})


if __name__ == "__main__":
    tf.test.main()
