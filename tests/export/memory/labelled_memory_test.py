"""Tests of semppl.export.memory.labelled_memory."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.export.memory.answers import Voters
from semppl.export.memory.calibration import Calibration
from semppl.export.memory.labelled_memory import LabelledMemory, class_probabilities, mask_invalid
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


def _unit(*shape, seed=0):
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


_CALIBRATION = Calibration(0.5, 0.6, 0.2)


def _memory(count=9, *, calibration=_CALIBRATION):
    labels = np.arange(count) % 3
    ids = 100 + np.arange(count)
    return LabelledMemory(_unit(count, 5), labels, ids, ("a", "b", "ç"), calibration)


def _votes(similarities, labels, num_classes, temperature):
    """The same in plain loops."""
    votes = np.zeros([len(similarities), num_classes])
    for row, line in enumerate(similarities):
        for similarity, label in zip(line, labels, strict=True):
            votes[row, label] += math.exp(float(similarity) / temperature)
    return votes / votes.sum(1, keepdims=True)


class ClassProbabilitiesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.05, 0.5, 3.0)
    def test_entries_vote_as_in_plain_loops(self, temperature):
        similarities = np.random.default_rng(1).uniform(-1, 1, (4, 11)).astype(np.float32)
        labels = np.random.default_rng(2).integers(0, 5, 11).astype(np.int32)
        probabilities = class_probabilities(similarities, labels, 6, temperature=temperature)
        self.assertAllClose(probabilities, _votes(similarities, labels, 6, temperature), rtol=1e-4, atol=1e-7)

    def test_equal_similarities_give_every_class_its_share_of_the_memory(self):
        probabilities = class_probabilities(np.zeros((1, 4), np.float32), [2, 0, 2, 2], 3, temperature=0.1)
        self.assertAllClose(probabilities, [[0.25, 0, 0.75]])

    def test_an_entry_that_is_barred_does_not_vote(self):
        similarities = np.array([[-math.inf, 0.3, 0.1]], np.float32)
        probabilities = class_probabilities(similarities, [0, 1, 2], 3, temperature=0.7)
        odds = math.exp(0.2 / 0.7)
        self.assertAllClose(probabilities, [[0, odds / (1 + odds), 1 / (1 + odds)]])

    def test_a_share_of_all_votes_is_never_above_one(self):
        similarities = np.random.default_rng(0).uniform(0.8, 1, (64, 300)).astype(np.float32)
        weights = tf.nn.softmax(similarities / np.float32(0.07)).numpy()
        sums = np.array([np.cumsum(row, dtype=np.float32)[-1] for row in weights])
        self.assertGreater(sums.max(), 1)  # by rounding
        probabilities = class_probabilities(similarities, np.zeros(300, np.int32), 2, temperature=np.float32(0.07))
        self.assertAllLessEqual(probabilities, 1.0)
        self.assertAllClose(probabilities[:, 0], np.ones(64))

    def test_when_cold_only_the_nearest_counts(self):
        similarities = np.array([[0.9, 0.91, 0.9, 0.9]], np.float32)
        self.assertAllClose(class_probabilities(similarities, [0, 1, 0, 0], 2, temperature=1e-4), [[0, 1]])


class LabelledMemoryTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_most_probable_class_is_the_answer(self):
        memory, queries = _memory(), _unit(20, 5, seed=3)
        answer = memory.classify(queries)
        expected = _votes(queries @ memory.embeddings.numpy().T, np.arange(9) % 3, 3, 0.5)
        self.assertAllClose(answer["probabilities"], expected, rtol=1e-4)
        self.assertAllEqual(answer["label"], expected.argmax(1))
        self.assertAllClose(answer["probability"], expected.max(1), rtol=1e-4)
        self.assertEqual(
            [name.decode() for name in answer["class_name"].numpy()], ["abç"[i] for i in expected.argmax(1)]
        )
        self.assertAllEqual(answer["abstain"], expected.max(1) < 0.6)
        self.assertLen(set(answer["abstain"].numpy()), 2)

    def test_voters_classify_in_place_of_the_remembered_embeddings(self):
        voters = Voters(3 * _unit(2, 5, seed=3), np.array([0.2, -0.4], np.float32), np.array([2, 0], np.int32))
        memory = LabelledMemory(_unit(9, 5), np.arange(9) % 3, np.arange(9), ("a", "b", "ç"), _CALIBRATION, voters)
        queries = _unit(7, 5, seed=4)
        expected = np.zeros([7, 3])
        for row, query in enumerate(queries):
            logits = [sum(a * b for a, b in zip(query, line, strict=True)) for line in voters.kernel]
            weights = [math.exp((logit + bias) / 0.5) for logit, bias in zip(logits, voters.bias, strict=True)]
            for weight, name in zip(weights, voters.classes, strict=True):
                expected[row, name] = weight / sum(weights)
        answer = memory.classify(queries)
        self.assertAllClose(answer["probabilities"], expected, atol=1e-6)
        self.assertAllEqual(answer["label"], expected.argmax(1))
        self.assertAllEqual(answer["abstain"], expected.max(1) < 0.6)
        self.assertAllEqual(memory.neighbours(queries, k=9)["ids"], _memory().neighbours(queries, k=9)["ids"] - 100)

    def test_a_prediction_set_holds_what_is_probable_and_never_nothing(self):
        queries = _unit(20, 5, seed=3)
        for threshold in (0.2, 0.35, 1.0):
            answer = _memory(calibration=Calibration(0.5, 0.0, threshold)).classify(queries)
            probabilities = answer["probabilities"].numpy()
            expected = (probabilities >= threshold) | (probabilities == probabilities.max(1, keepdims=True))
            self.assertAllEqual(answer["prediction_set"], expected)

    def test_a_probability_at_the_threshold_is_answered(self):
        queries = _unit(1, 5, seed=3)
        exactly = _memory().classify(queries)["probability"].numpy()[0]
        for threshold, abstains in ((exactly, False), (np.nextafter(exactly, np.float32(2)), True)):
            answer = _memory(calibration=Calibration(0.5, threshold, 0.0)).classify(queries)
            self.assertEqual(bool(answer["abstain"][0]), abstains)

    @parameterized.parameters((4, 4), (9, 9), (30, 9))
    def test_neighbours_come_nearest_first_and_all_where_there_are_fewer(self, k, count):
        memory, queries = _memory(), _unit(6, 5, seed=4)
        found = memory.neighbours(queries, k=k)
        similarities = queries @ memory.embeddings.numpy().T
        order = np.argsort(-similarities, axis=1)[:, :count]
        self.assertAllEqual(found["ids"], 100 + order)
        self.assertAllEqual(found["labels"], order % 3)
        self.assertAllClose(found["similarities"], np.take_along_axis(similarities, order, 1))

    def test_the_values_can_be_exchanged_for_others_of_another_length(self):
        memory = _memory()
        classify = tf.function(memory.classify, input_signature=[tf.TensorSpec([None, 5])])
        queries = _unit(3, 5, seed=5)
        classify(queries)
        memory.embeddings.assign(_unit(12, 5, seed=6))
        memory.labels.assign(np.arange(12) % 4)
        memory.ids.assign(np.arange(12))
        memory.class_names.assign(["a", "b", "c", "d", ""])
        self.assertEqual(classify(queries)["probabilities"].shape, (3, 4))

    def test_a_probability_at_the_threshold_of_sets_is_in_the_set(self):
        queries = _unit(1, 5, seed=3)
        probabilities = _memory().classify(queries)["probabilities"].numpy()[0]
        second = int(np.argsort(-probabilities)[1])
        for threshold, inside in (
            (probabilities[second], True),
            (np.nextafter(probabilities[second], np.float32(2)), False),
        ):
            answer = _memory(calibration=Calibration(0.5, 0.0, threshold)).classify(queries)
            self.assertEqual(bool(answer["prediction_set"][0, second]), inside)


class MaskInvalidTest(tf.test.TestCase):
    def test_of_a_picture_that_cannot_be_read_any_class_is_possible_and_nothing_is_similar(self):
        memory, queries = _memory(calibration=Calibration(0.5, 0.0, 0.9)), np.zeros((2, 5), np.float32)
        queries[0] = _unit(5)
        classified, nearest = memory.classify(queries), memory.neighbours(queries, k=4)
        self.assertAllEqual(classified["prediction_set"][1], [True, True, True])
        self.assertEqual(int(tf.reduce_sum(tf.cast(classified["prediction_set"][0], tf.int32))), 1)
        self.assertAllEqual(classified["probabilities"][1], np.zeros(3))
        for name, value in (("similarities", 0), ("ids", -1), ("labels", -1)):
            self.assertAllEqual(nearest[name][1], np.full(4, value))
            self.assertNotAllEqual(nearest[name][0], np.full(4, value))

    def test_a_picture_that_cannot_be_read_gets_no_class_and_no_trust(self):
        memory, queries = _memory(calibration=Calibration(0.5, 0.0, 0.0)), _unit(2, 5, seed=3)
        score = {"distance": tf.ones(2), "ood": tf.ones(2)}
        answer = memory.classify(queries) | score | {"embedding": tf.constant(queries)}
        del answer["probabilities"], answer["prediction_set"]
        masked = mask_invalid(answer, tf.constant([True, False]))
        self.assertEqual(set(masked), set(answer))
        for name, values in masked.items():
            self.assertAllEqual(values[0], answer[name][0])
        nothing = {name: values[1].numpy() for name, values in masked.items()}
        self.assertAllEqual(nothing.pop("embedding"), np.zeros(5))
        expected = {"label": -1, "class_name": b"", "probability": 0, "abstain": True, "ood": 100}
        self.assertEqual(nothing.pop("distance"), np.finfo(np.float32).max)
        self.assertEqual(nothing, expected)


if __name__ == "__main__":
    tf.test.main()
