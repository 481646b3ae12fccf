"""Tests of semppl.trainers.baselines.simmatch."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.labels import NO_LABEL
from semppl.tests import tiny
from semppl.tests.trainers.baselines import models
from semppl.trainers import pretrain
from semppl.trainers.baselines.simmatch import SimMatch


def _make(**changes):
    settings = models.settings("simmatch", **changes)
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    return model, models.prepare(model, settings)


def _softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


class SimMatchTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.changes = {
            "simmatch_threshold": 0.4,
            "simmatch_smoothing": 0.7,
            "simmatch_delay_steps": 1,
            "simmatch_consistency_weight": 1.5,
            "simmatch_instance_weight": 0.6,
            "temperature": 0.4,
        }

    def _expected(self, model, batch, settings):
        """The loss of the next step, image by image."""
        logits, embeddings = (part.numpy().astype(np.float64) for part in model.split(model.predict(batch)[0]))
        labels, bank = batch["labels"].numpy(), model.bank.embeddings.numpy()[0].astype(np.float64)
        slots = np.flatnonzero(model.bank.labels.numpy() >= 0)
        classes_of_slots = model.bank.labels.numpy()[slots]
        probabilities, strong = _softmax(logits[0]), _softmax(logits[1])
        means = [*model.alignment.means.numpy()[: model.alignment.pointer.numpy()], probabilities[labels < 0].mean(0)]
        aligned = probabilities / np.mean(means, axis=0)
        aligned /= aligned.sum(axis=1, keepdims=True)
        teacher, student = (_softmax(part @ bank[slots].T / settings["temperature"]) for part in embeddings)
        consistency, instance = [], []
        for b in np.flatnonzero(labels < 0):
            target, neighbours = aligned[b], None
            if len(slots):
                vote = [teacher[b, classes_of_slots == c].sum() for c in range(3)]
                kept = settings["simmatch_smoothing"]
                target = kept * target + (1 - kept) * np.array(vote)
                neighbours = teacher[b] * aligned[b, classes_of_slots]
                instance.append(-np.sum(neighbours / neighbours.sum() * np.log(student[b])))
            confident = target.max() >= settings["simmatch_threshold"]
            consistency.append(-np.sum(target * np.log(strong[b])) if confident else 0)
        supervised = [-np.log(probabilities[b, labels[b]]) for b in np.flatnonzero(labels >= 0)]
        self.assertBetween(sum(value > 0 for value in consistency), 1, 12)
        loss = np.mean(supervised) + settings["simmatch_consistency_weight"] * np.mean(consistency)
        return loss + settings["simmatch_instance_weight"] * (np.mean(instance) if instance else 0)

    def test_the_loss_is_that_of_labels_classes_and_neighbours_before_and_after_the_memory_is_used(self):
        model, batch = _make(**self.changes)
        settings = models.settings("simmatch", **self.changes)
        for step in range(3):
            self.assertEqual(int(np.sum(model.bank.labels.numpy() >= 0)), 4 * step)
            expected = self._expected(model, batch, settings)
            self.assertAllClose(model.train_step(batch)["loss"], expected, rtol=2e-4, msg=f"{step}")

    def test_the_memory_waits_for_its_step_even_if_it_is_filled(self):
        model, batch = _make(**self.changes | {"simmatch_delay_steps": 2})
        unlabelled = batch["labels"] == NO_LABEL
        model.train_step(batch)
        outputs = model.predict(batch)[0][0]
        for step, used in ((1, False), (2, True)):
            targets = model.make_targets(outputs, unlabelled, tf.constant(step))
            self.assertAllClose(tf.reduce_sum(targets.neighbours, axis=1), [float(used)] * 16)

    @parameterized.parameters(
        (9, 10, ""), (10, 10, "--simmatch_delay_steps=10 must be below --steps=10 for that"), (10, 0, "")
    )
    def test_a_run_that_ends_before_the_memory_is_used_is_warned_of(self, delay, steps, message):
        changes = self.changes | {"simmatch_delay_steps": delay, "steps": steps}
        found = SimMatch.warning(Hyperparameters(**models.settings("simmatch", **changes)))
        self.assertEqual(bool(found), bool(message))
        self.assertEndsWith(found, message)

    def test_the_memory_holds_weak_views_of_labelled_images(self):
        model, batch = _make(**self.changes)
        _, embeddings = model.split(model.predict(batch)[0])
        model.train_step(batch)
        self.assertAllClose(model.bank.embeddings[0, :4], embeddings[0, :4], rtol=1e-5)
        self.assertAllEqual(model.bank.labels[:4], batch["labels"][:4])
        self.assertAllEqual(model.bank.groups[:4], batch["groups"][:4])

    def test_the_gradient_does_not_flow_into_the_targets(self):
        model, batch = _make(**self.changes)
        model.train_step(batch)
        unlabelled = batch["labels"] == NO_LABEL
        outputs = model.predict(batch)[0]
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            targets = model.make_targets(outputs[0], unlabelled, tf.constant(5))
            logits, embeddings = model.split(outputs)
            loss = model.agree_on_classes(logits[1], targets, unlabelled)
            loss += model.agree_on_neighbours(embeddings[1], targets, unlabelled)
        weak, strong = tape.gradient(loss, outputs)
        self.assertAllEqual(weak, tf.zeros_like(weak))
        self.assertAllGreater(tf.reduce_max(tf.abs(tf.boolean_mask(strong, unlabelled)), axis=1), 0)
        self.assertAllEqual(tf.boolean_mask(strong, ~unlabelled), tf.zeros([4, 11]))


if __name__ == "__main__":
    tf.test.main()
