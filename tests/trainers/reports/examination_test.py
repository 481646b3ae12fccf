"""Tests of semppl.trainers.reports.examination."""

import dataclasses
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, ImageSet, Source
from semppl.evaluation import health
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.reports import callbacks, examination
from semppl.trainers.reports.callbacks import NotFinite
from semppl.trainers.reports.examination import Examination, Examine

_CLASSES = ("cat", "dog", "owl")
_RNG = np.random.default_rng(0)


def _images(count, *, labels=None):
    labels = np.arange(count, dtype=np.int32) % 3 if labels is None else labels
    pixels = _RNG.uniform(0, 1, (count, 8, 8, 1)) * 0.6 + labels[:, np.newaxis, np.newaxis, np.newaxis] * 0.2
    return ImageSet(np.clip(pixels, 0, 1).astype(np.float32), labels)


def _source(**changes):
    return dataclasses.replace(Source(_images(40), _images(30), _CLASSES), **changes)


def _visible(source, every=4):
    return np.where(np.arange(len(source.train)) % every == 0, source.train.labels, NO_LABEL).astype(np.int32)


def _model(**changes):
    settings = Hyperparameters(**tiny.settings(**changes)).resolved(num_images=40, num_labelled=10, replicas=1)
    return pretrain.build_model(settings, 3, jit_compile=False)


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class ExaminationTest(tf.test.TestCase, parameterized.TestCase):
    def test_accuracy_is_that_of_the_nearest_labelled_image(self):
        source, model = _source(), _model()
        labels = _visible(source)
        measured = Examination(model, source, labels)()
        network = model.online
        visible = np.flatnonzero(labels != NO_LABEL)
        memory, queries = (_unit(network.project(images.images).numpy()) for images in (source.train, source.test))
        right = [
            labels[max(visible, key=lambda other, row=row: row @ memory[other])] == truth
            for row, truth in zip(queries, source.test.labels, strict=True)
        ]
        self.assertAlmostEqual(measured["held_out_accuracy"], np.mean(right), places=6)

    def test_validation_images_come_before_test_images(self):
        source = _source(validation=_images(20))
        self.assertEqual(Examination(_model(), source, _visible(source)).findings().held_out, 20)

    def test_held_out_images_without_a_label_do_not_count(self):
        source = _source(test=_images(12, labels=np.array([0, NO_LABEL, 2] * 4, np.int32)))
        self.assertEqual(Examination(_model(), source, _visible(source)).findings().held_out, 8)

    def test_without_held_out_images_or_labels_health_is_measured_all_the_same(self):
        source = _source(test=None)
        for labels in (_visible(source), np.full(40, NO_LABEL, np.int32)):
            measured = Examination(_model(), source, labels)()
            self.assertNotIn("held_out_accuracy", measured)
            self.assertIn("effective_rank", measured)

    def test_health_is_measured_on_two_views_of_the_same_images(self):
        source = _source()
        measured = Examination(_model(), source, _visible(source))()  # the recipe is the identity: equal views
        self.assertAlmostEqual(measured["alignment"], 0, places=5)
        self.assertGreater(measured["view_separation"], 0)
        with self.subTest("one view has no pair"):
            measured = Examination(_model(large_views=1), source, _visible(source))()
            self.assertNotIn("alignment", measured)
            self.assertIn("uniformity", measured)

    def test_the_queue_elects_classes_as_in_training(self):
        source, model = _source(), _model(large_views=1, small_views=0)
        labels = _visible(source)
        examine = Examination(model, source, labels)
        self.assertNotIn("vote_entropy", examine())  # an empty queue
        anchors = model.online(source.train.images).numpy()
        model.queue.enqueue(
            tf.constant(anchors[np.newaxis, :2]), tf.constant([1, 2]), tf.constant([900, 901], tf.int64)
        )
        measured = examine()
        elected = [1 if anchor @ anchors[0] > anchor @ anchors[1] else 2 for anchor in anchors]
        shares = [elected.count(number) / 40 for number in range(3)]
        self.assertAllClose([measured[f"elected/{name}"] for name in _CLASSES], shares)
        self.assertAlmostEqual(measured["vote_entropy"], health.class_entropy(np.array(elected), 3), places=6)

    @parameterized.parameters((1, 1), (2, 2))
    def test_as_many_views_and_queues_vote_as_in_training(self, voting, elected):
        # Two entries, whose classes the second queue places the other way round, with more weight.
        source, model = _source(), _model(large_views=2, small_views=0, voting_views=voting)
        near, aside = tf.split(tf.eye(2, model.hyperparameters.embedding_width), 2)
        queues = tf.stack([tf.concat([0.6 * near + 0.8 * aside, -near], 0), tf.concat([-near, near], 0)])
        model.queue.enqueue(queues, tf.constant([1, 2]), tf.constant([900, 901], tf.int64))
        with mock.patch.object(Examination, "_map", lambda self, function, view: tf.repeat(near, len(view), 0).numpy()):
            measured = Examination(model, source, _visible(source))._elections()
        self.assertEqual(measured[f"elected/{_CLASSES[elected]}"], 1.0)

    def test_the_weights_are_those_of_the_moment(self):
        source, model = _source(), _model()
        examine = Examination(model, source, _visible(source))
        before = examine()
        for variable in model.online.projector.trainable_variables:
            variable.assign(tf.zeros_like(variable))
        with self.subTest("the projector maps everything to zero"):
            self.assertNotEqual(before["spread"], examine()["spread"])

    @parameterized.parameters("moco", "nnclr", "simclr", "supervised")
    def test_methods_without_a_labelled_queue_are_examined_and_reported(self, method):
        source = _source()
        changes = {"labelled_batch_size": 16} if method == "supervised" else {}
        model = _model(method=method, small_views=0, queue_size=16, **changes)
        examine = Examination(model, source, _visible(source))
        measured = examine()
        self.assertNotIn("vote_entropy", measured)
        self.assertLessEqual(measured["effective_rank"], examine.findings().width)
        summaries = callbacks.Summaries(
            pathlib.Path(self.create_tempdir().full_path), first_step=0, last_step=1, every=1, class_names=_CLASSES
        )
        summaries.set_model(model)
        model.optimizer.iterations.assign(1)
        summaries.on_train_batch_end(0, {"loss": 1.0})

    def test_embeddings_with_nan_stop_the_run(self):
        source, model = _source(), _model()
        examine = Examination(model, source, _visible(source))
        kernel = model.online.projector.trainable_variables[0]
        kernel.assign(tf.fill(kernel.shape, float("nan")))
        with self.assertRaisesRegex(NotFinite, "^embeddings of .* contain NaN or Inf. Try a lower --learning_rate"):
            examine()

    def test_the_features_of_a_frozen_encoder_are_computed_once(self):
        source, model = _source(), _model(train="heads", cached_views=2, small_views=0, large_views=2)
        encode = model.online.encode
        with mock.patch.object(model.online, "encode", side_effect=encode) as counted:
            examine = Examination(model, source, _visible(source))
            calls = counted.call_count
            self.assertGreater(calls, 0)
            first, second = examine(), examine()
        self.assertEqual(counted.call_count, calls)
        self.assertEqual(first, second)

    def test_few_positions_are_evenly_spaced(self):
        self.assertAllEqual(examination._few(np.arange(100), 3), [0, 49, 99])
        self.assertAllEqual(examination._few(np.array([4, 7]), 3), [4, 7])
        self.assertAllEqual(examination._few(np.zeros(0, int), 3), [])


class ExamineTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.said, self.reported = [], []

    def examine_until(self, last_step, *, measures, every=3, first_step=0):
        model = _model(steps=last_step)
        callback = Examine(
            lambda: dict(measures),
            health.Findings(last_step=last_step, width=8, held_out=30),
            self.reported.append,
            lambda step: None,
            every=every,
            first_step=first_step,
            last_step=last_step,
            say=self.said.append,
        )
        callback.set_model(model)
        for step in range(first_step + 1, last_step + 1):
            model.optimizer.iterations.assign(step)
            callback.on_train_batch_end(step, {})

    def test_examines_every_few_steps_and_at_the_end(self):
        self.examine_until(8, measures={"effective_rank": 4.25, "spread": 0.5, "held_out_accuracy": 0.7})
        ending = "accuracy 0.700 on 30 held-out images (nearest labelled image); effective rank 4.2 of 8"
        self.assertEqual(self.said, [f"step {step}: {ending}" for step in (3, 6, 8)])
        self.assertLen(self.reported, 3)

    def test_by_default_a_tenth_of_the_run_and_at_least_100_steps(self):
        measures = {"effective_rank": 4.0, "spread": 0.5}
        for last_step, steps in ((1510, [151 * turn for turn in range(1, 11)]), (250, [100, 200, 250]), (99, [])):
            self.said.clear()
            self.examine_until(last_step, measures=measures, every=0)
            self.assertEqual([int(line.split()[1][:-1]) for line in self.said], steps)

    def test_what_is_wrong_is_a_warning(self):
        self.examine_until(3, measures={"effective_rank": 1.0, "spread": 0.0})
        self.assertRegex(self.said[1], "^warning: step 3: Embeddings are collapsing: ")

    def test_a_resumed_run_examines_at_the_same_steps(self):
        self.examine_until(12, measures={"effective_rank": 4.0, "spread": 0.5}, every=5, first_step=4)
        self.assertEqual([line.partition(":")[0] for line in self.said], ["step 5", "step 10", "step 12"])


if __name__ == "__main__":
    testing.replicas(1)
    tf.test.main()
