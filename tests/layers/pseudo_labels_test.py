"""Tests of semppl.layers.pseudo_labels."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import pseudo_labels
from semppl.layers.labels import NO_LABEL
from semppl.tests import numpy_method

_EMPTY_ID = -1


def _vectors(rng, *shape):
    vectors = rng.standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _vote(anchors, groups, queues, labels, queue_groups, k=1, dtype=tf.float64):
    votes = pseudo_labels.nearest_neighbour_vote(
        tf.constant(anchors, dtype),
        tf.constant(groups, tf.int64),
        tf.constant(queues, dtype),
        tf.constant(labels, tf.int32),
        tf.constant(queue_groups, tf.int64),
        k=k,
    )
    return votes.classes.numpy(), votes.confidence.numpy()


def _filled(queues, labels, queue_groups):
    """Turns the arrays of the queues into one list of entries per view, empty slots left out."""
    return [
        [
            numpy_method.Entry(embedding, label, group)
            for embedding, label, group in zip(queue, labels, queue_groups, strict=True)
            if label != NO_LABEL
        ]
        for queue in queues
    ]


def _at(*cosines):
    """Returns unit vectors `[…, 2]` at the given cosines to (1, 0)."""
    return np.stack([cosines, np.sqrt(1 - np.square(cosines))], -1)


class NearestNeighbourVoteTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        num_views=[1, 2, 3], k=[1, 3, 9], filled=[0, 1, 5, 9], width=[4], num_classes=[2, 5], dtype=[tf.float64]
    )
    def test_votes_match_plain_loops(self, num_views, k, filled, width, num_classes, dtype):
        rng = np.random.default_rng(100 * num_views + 10 * k + filled)
        batch, capacity = 7, 9
        anchors, queues = _vectors(rng, num_views, batch, width), _vectors(rng, num_views, capacity, width)
        labels, queue_groups = rng.integers(0, num_classes, capacity), rng.permutation(capacity)
        empty = rng.permutation(capacity)[filled:]
        labels[empty], queue_groups[empty] = NO_LABEL, _EMPTY_ID
        groups = np.concatenate(
            [rng.permutation(capacity)[: batch - 2], [98, 99]]
        )  # all but two may stand in the queue
        classes, confidence = _vote(anchors, groups, queues, labels, queue_groups, k, dtype)
        self.assertEqual((classes.dtype, confidence.dtype), (np.int32, np.float32))
        for b in range(batch):
            entries = _filled(queues, labels, queue_groups)
            expected_class, expected_confidence = numpy_method.vote(anchors[:, b], groups[b], entries, k)
            self.assertEqual(classes[b], expected_class)
            self.assertAllClose(confidence[b], expected_confidence, rtol=1e-6, atol=1e-6)

    @parameterized.parameters((1, 1), (2, 3), (3, 2))
    def test_prior_corrected_votes_match_plain_loops(self, num_views, k):
        # A vote for c weighs F / n_c: of the F filled slots n_c hold c.
        rng, capacity, decided = np.random.default_rng(10 * num_views + k), 12, 0
        labels = np.array([0] * 6 + [1] * 3 + [2] + [NO_LABEL] * 2)
        for _ in range(6):
            anchors, queues = _vectors(rng, num_views, 8, 3), _vectors(rng, num_views, capacity, 3)
            arguments = [tf.constant(anchors), tf.range(100, 108, dtype=tf.int64), tf.constant(queues)]
            arguments += [tf.constant(labels, tf.int32), tf.range(capacity, dtype=tf.int64)]
            plain = pseudo_labels.nearest_neighbour_vote(*arguments, k=k)
            corrected = pseudo_labels.nearest_neighbour_vote(*arguments, k=k, prior_corrected=True)
            decided += int(np.sum(plain.classes.numpy() != corrected.classes.numpy()))
            for b in range(8):
                weight, nearness = dict.fromkeys(range(3), 0.0), dict.fromkeys(range(3), 0.0)
                entries = _filled(queues, labels, np.arange(capacity))
                for i, queue in np.ndindex(num_views, num_views):
                    for label, cosine in numpy_method.neighbours(anchors[i, b], 100 + b, entries[queue], k):
                        weight[label] += 10 / [6, 3, 1][label]
                        nearness[label] += cosine
                winner = min(weight, key=lambda c: (-round(weight[c], 9), -nearness[c], c))
                self.assertEqual(corrected.classes[b], winner)
                expected = weight[winner] / sum(weight.values())
                self.assertAllClose(corrected.confidence[b], expected, rtol=1e-6, atol=0)
        if num_views > 1:
            self.assertGreater(decided, 0)  # else the correction decided nothing here

    def test_empty_queues_elect_nobody_with_the_prior_corrected_too(self):
        anchors = tf.constant(_vectors(np.random.default_rng(0), 2, 3, 4))
        empty = tf.zeros([2, 5, 4], tf.float64), tf.fill([5], NO_LABEL), tf.fill([5], tf.constant(-1, tf.int64))
        votes = pseudo_labels.nearest_neighbour_vote(
            anchors, tf.range(3, dtype=tf.int64), *empty, k=2, prior_corrected=True
        )
        self.assertAllEqual(votes.classes, [NO_LABEL] * 3)
        self.assertAllEqual(votes.confidence, [0.0] * 3)

    def test_empty_queues_elect_nobody(self):
        anchors = _vectors(np.random.default_rng(0), 2, 3, 4)
        classes, confidence = _vote(anchors, [1, 2, 3], np.zeros((2, 5, 4)), [NO_LABEL] * 5, [_EMPTY_ID] * 5, k=2)
        self.assertAllEqual(classes, [NO_LABEL] * 3)
        self.assertAllEqual(confidence, [0.0] * 3)

    def test_empty_slots_never_vote(self):
        # Six empty slots hold the very anchor, one entry points the other way: it elects its class alone.
        anchors = _at(1.0)[np.newaxis]
        queues = np.concatenate([np.repeat(anchors, 6, axis=1), -anchors], axis=1)
        classes, confidence = _vote(anchors, [5], queues, [NO_LABEL] * 6 + [4], [_EMPTY_ID] * 6 + [8], k=7)
        self.assertAllEqual(classes, [4])
        self.assertAllEqual(confidence, [1.0])

    @parameterized.parameters(tf.float32, tf.float64)
    def test_an_entry_at_the_opposite_pole_still_votes(self, dtype):
        anchors = np.full((1, 1, 3), 1 / np.sqrt(3))
        classes, _ = _vote(anchors, [5], -1.000001 * anchors, [2], [6], dtype=dtype)
        self.assertAllEqual(classes, [2])

    def test_an_image_does_not_vote_for_itself(self):
        # Image 5 stands in the queue as class 0, as near as can be; class 1 is far away.
        anchors, queues = _at(1.0)[np.newaxis], _at(1.0, -0.5)[np.newaxis]
        for groups, elected in (([5], 1), ([6], 0), ([7], 0)):
            classes, _ = _vote(anchors, groups, queues, [0, 1], [5, 6])
            self.assertAllEqual(classes, [elected])

    def test_an_image_that_has_but_itself_in_the_queue_has_no_class(self):
        anchors = _at(1.0)[np.newaxis]
        classes, confidence = _vote(anchors, [5], anchors, [3], [5])
        self.assertAllEqual(classes, [NO_LABEL])
        self.assertAllEqual(confidence, [0.0])

    def test_an_image_with_the_empty_slots_id_still_has_neighbours(self):
        anchors = _at(1.0)[np.newaxis]
        classes, _ = _vote(anchors, [0], np.repeat(anchors, 2, 1), [NO_LABEL, 3], [_EMPTY_ID, 7])
        self.assertAllEqual(classes, [3])

    def test_every_view_asks_every_queue(self):
        # View 0 looks along x, view 1 along y. Queue 0 has class 0 at x and class 1 at y, queue 1 has them exchanged: two votes
        # each, and class 1 the larger sum. If view i asked queue i alone, class 0 would get both votes.
        anchors = np.eye(2)[:, np.newaxis]
        queues = np.array([[[0.9, 0.0], [0.0, 1.0]], [[0.0, 0.9], [0.9, 0.0]]])
        classes, confidence = _vote(anchors, [9], queues, [0, 1], [1, 2])
        self.assertAllEqual(classes, [1])
        self.assertAllEqual(confidence, [0.5])

    def test_only_the_k_nearest_of_each_queue_vote(self):
        anchors, queues = _at(1.0)[np.newaxis], _at(0.9, 0.8, 0.7, 0.6, 0.5)[np.newaxis]
        labels, groups = [0, 1, 1, 2, 2], range(5)
        for k, (elected, share) in {1: (0, 1.0), 2: (0, 0.5), 3: (1, 2 / 3), 5: (1, 0.4)}.items():
            classes, confidence = _vote(anchors, [9], queues, labels, groups, k)
            self.assertAllEqual(classes, [elected])
            self.assertAllClose(confidence, [share], rtol=1e-6, atol=0)

    def test_images_are_judged_one_by_one(self):
        rng = np.random.default_rng(3)
        anchors, queues = _vectors(rng, 2, 6, 4), _vectors(rng, 2, 8, 4)
        groups, labels = np.arange(6), rng.integers(0, 3, 8)
        together, _ = _vote(anchors, groups, queues, labels, np.arange(8), k=2)
        alone = [
            _vote(anchors[:, b : b + 1], groups[b : b + 1], queues, labels, np.arange(8), k=2)[0][0] for b in range(6)
        ]
        self.assertAllEqual(together, alone)

    @parameterized.parameters(False, True)
    def test_graph_and_xla_elect_what_eager_elects(self, jit_compile):
        rng = np.random.default_rng(4)
        arguments = [
            tf.constant(_vectors(rng, 2, 6, 4), tf.float32),
            tf.constant(np.arange(6), tf.int64),
            tf.constant(_vectors(rng, 2, 8, 4), tf.float32),
            tf.constant(rng.integers(-1, 3, 8), tf.int32),
            tf.constant(np.arange(8), tf.int64),
        ]
        eager = pseudo_labels.nearest_neighbour_vote(*arguments, k=3)
        compiled = tf.function(pseudo_labels.nearest_neighbour_vote, jit_compile=jit_compile)(*arguments, k=3)
        self.assertAllEqual(compiled.classes, eager.classes)
        self.assertAllClose(compiled.confidence, eager.confidence, rtol=1e-6, atol=0)


class TallyTest(tf.test.TestCase, parameterized.TestCase):
    def _assert_winner(self, labels, similarities, winner, confidence):
        votes = pseudo_labels.tally(tf.constant([labels], tf.int32), tf.constant([similarities], tf.float32))
        self.assertAllEqual(votes.classes, [winner])
        self.assertAllClose(votes.confidence, [confidence], rtol=1e-6, atol=0)

    def test_the_commonest_class_wins_however_far_its_voters_are(self):
        self._assert_winner([0, 1, 1], [0.9, 0.1, -0.9], 1, 2 / 3)
        self._assert_winner([1, 0, 0], [0.9, -0.1, -0.9], 0, 2 / 3)

    def test_a_tie_goes_to_the_larger_summed_similarity(self):
        # The largest single similarity is class 0's; class 2's sum is larger; class 5 has but one vote.
        self._assert_winner([0, 2, 2, 0, 5], [0.9, 0.5, 0.6, 0.1, 1.0], 2, 0.4)
        self._assert_winner([2, 0, 0, 2, 5], [0.9, 0.5, 0.6, 0.1, 1.0], 0, 0.4)
        self._assert_winner([0, 2], [-0.9, -0.8], 2, 0.5)

    def test_a_tie_of_similarities_too_goes_to_the_smaller_class(self):
        self._assert_winner([4, 2, 3], [0.5, 0.5, 0.5], 2, 1 / 3)
        self._assert_winner([4, 2, 2, 4, 1], [0.25, 0.5, 0.0, 0.25, 0.9], 2, 0.4)

    def test_no_vote_counts_for_nothing(self):
        self._assert_winner([NO_LABEL, NO_LABEL, 7], [1.0, 1.0, -1.0], 7, 1.0)
        self._assert_winner([NO_LABEL, NO_LABEL], [1.0, 1.0], NO_LABEL, 0.0)

    def test_classes_are_numbers_of_any_size(self):
        self._assert_winner([2**31 - 2, 0, 2**31 - 2], [0.0, 1.0, 0.0], 2**31 - 2, 2 / 3)

    def test_a_vote_counts_as_much_as_its_class_is_rare(self):
        # Class 0: 3 votes / 6 entries = 1/2; class 1: 2 / 3; of 1/2 + 2/3 = 7/6 in all, 4/7.
        votes = pseudo_labels.tally(
            tf.constant([[0, 1, 0, 1, 0, NO_LABEL]]), tf.zeros([1, 6]), tf.constant([[6, 3, 6, 3, 6, 9]])
        )
        self.assertAllEqual(votes.classes, [1])
        self.assertAllClose(votes.confidence, [4 / 7], rtol=1e-6, atol=0)

    @parameterized.parameters(9, 12, 48)
    def test_who_agree_are_confident_whatever_their_weight(self, num_votes):
        for count in range(1, 400):
            entries = tf.fill([1, num_votes], count)
            votes = pseudo_labels.tally(tf.fill([1, num_votes], 3), tf.zeros([1, num_votes]), entries)
            self.assertEqual(votes.confidence[0], 1.0, count)

    def test_equal_weights_tie_exactly(self):
        # 1/7 + … of class 2 and 3/21 of class 5 are equal: the larger summed similarity decides.
        labels, entries = tf.constant([[2, 5, 5, 5]]), tf.constant([[7, 21, 21, 21]])
        for own, winner in ((0.5, 2), (0.1, 5)):
            votes = pseudo_labels.tally(labels, tf.constant([[own, 0.1, 0.1, 0.1]]), entries)
            self.assertAllEqual(votes.classes, [winner])

    def test_the_order_of_the_votes_does_not_matter(self):
        rng = np.random.default_rng(5)
        labels = rng.integers(-1, 3, (50, 8))
        similarities = rng.integers(-4, 5, (50, 8)) / 4  # exact sums, many ties
        order = rng.permutation(8)
        first = pseudo_labels.tally(tf.constant(labels, tf.int32), tf.constant(similarities, tf.float32))
        second = pseudo_labels.tally(
            tf.constant(labels[:, order], tf.int32), tf.constant(similarities[:, order], tf.float32)
        )
        self.assertAllEqual(first.classes, second.classes)
        self.assertAllEqual(first.confidence, second.confidence)

    def test_ties_match_plain_loops(self):
        rng = np.random.default_rng(6)
        labels = rng.integers(-1, 3, (200, 6))
        similarities = rng.integers(-4, 5, (200, 6)) / 4
        votes = pseudo_labels.tally(tf.constant(labels, tf.int32), tf.constant(similarities, tf.float32))
        for b in range(200):
            ranks = {
                label: (sum(labels[b] == label), sum(similarities[b][labels[b] == label]), -label)
                for label in set(labels[b]) - {NO_LABEL}
            }
            winner = max(ranks, key=ranks.__getitem__) if ranks else NO_LABEL
            self.assertEqual(votes.classes[b], winner)


class AbstainTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (0.0, [2, 0, 1, NO_LABEL]), (0.5, [2, 0, NO_LABEL, NO_LABEL]), (1.0, [2, *[NO_LABEL] * 3])
    )
    def test_a_class_with_too_small_a_share_is_withheld(self, min_share, expected):
        votes = pseudo_labels.Votes(tf.constant([2, 0, 1, NO_LABEL]), tf.constant([1.0, 0.5, 0.375, 0.0]))
        sure = pseudo_labels.abstain(votes, min_share=min_share)
        self.assertAllEqual(sure.classes, expected)
        self.assertAllEqual(sure.confidence, np.where(np.array(expected) == NO_LABEL, 0, votes.confidence))


class ShareThatCoversTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(coverage=[0.0, 0.1, 0.25, 0.5, 1.0], labelled=[0, 3, 8])
    def test_it_is_the_confidence_of_the_last_image_that_is_needed(self, coverage, labelled):
        rng = np.random.default_rng(labelled)
        confidence = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], 8).astype(np.float32)
        unlabelled = np.arange(8) >= labelled
        remaining, needed = sorted(confidence[unlabelled]), coverage * np.sum(unlabelled)
        expected, reached = math.inf, 0
        while reached < needed:
            expected, reached = remaining.pop(), reached + 1
        share = pseudo_labels.share_that_covers(tf.constant(confidence), tf.constant(unlabelled), coverage=coverage)
        self.assertEqual(float(share), expected)

    def test_at_least_the_asked_share_of_the_images_get_a_class(self):
        confidence = tf.constant([0.25, 1.0, 0.5, 0.5, 0.25, 0.0])
        votes = pseudo_labels.Votes(tf.range(6), confidence)
        unlabelled = tf.constant([True, False, True, True, True, True])
        share = pseudo_labels.share_that_covers(confidence, unlabelled, coverage=0.2)
        self.assertAllEqual(
            pseudo_labels.abstain(votes, min_share=share).classes, [NO_LABEL, 1, 2, 3, NO_LABEL, NO_LABEL]
        )


if __name__ == "__main__":
    tf.test.main()
