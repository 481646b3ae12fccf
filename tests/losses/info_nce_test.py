"""Tests of semppl.losses.info_nce."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses.info_nce import cross_entropy_of_positives, info_nce
from semppl.losses.two_level_softmax import two_level_softmax
from semppl.tests import numpy_method


def _vectors(seed, *shape):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _cross_entropy(positives, negatives, temperature):
    """The cross-entropy of one positive an anchor, from similarities: `[...]` and `[..., M]` give `[...]`."""
    softmax = two_level_softmax(positives[..., tf.newaxis] / temperature, negatives / temperature)
    return cross_entropy_of_positives(softmax)[..., 0]


class InfoNCETest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_orthogonal_negatives_match_the_closed_form(self, temperature):
        # Each anchor has cosine 1 with its positive and 0 with seven negatives: log(1 + 7·e^{−1/τ}).
        axes = tf.eye(8)
        negatives = tf.stack([tf.concat([axes[:i], axes[i + 1 :]], axis=0) for i in range(8)])  # [8,7,8]
        loss = info_nce(axes, axes, negatives, temperature=temperature)
        expected = math.log1p(7 * math.exp(-1 / temperature))
        self.assertAllClose(loss, [expected] * 8, rtol=1e-6, atol=1e-6)

    @parameterized.parameters(0.15, 0.2, 3.0)
    def test_losses_match_plain_loops(self, temperature):
        anchors, positives, negatives = _vectors(0, 2, 3, 5), _vectors(1, 2, 3, 5), _vectors(2, 2, 3, 4, 5)
        loss = info_nce(tf.constant(anchors), tf.constant(positives), tf.constant(negatives), temperature=temperature)
        self.assertEqual(loss.shape, [2, 3])
        for place in np.ndindex(2, 3):
            expected = numpy_method.info_nce(anchors[place], positives[place], list(negatives[place]), temperature)
            self.assertAllClose(loss[place], expected, rtol=1e-12, atol=1e-12)

    def test_the_loss_is_the_softmax_cross_entropy_with_the_positive_as_the_label(self):
        anchors, positives, negatives = _vectors(0, 6, 5), _vectors(1, 6, 5), _vectors(2, 6, 4, 5)
        candidates = np.concatenate([positives[:, np.newaxis], negatives], axis=1)
        logits = np.einsum("bd,bcd->bc", anchors, candidates) / 0.3
        expected = tf.nn.sparse_softmax_cross_entropy_with_logits(np.zeros(6, int), logits)
        loss = info_nce(tf.constant(anchors), tf.constant(positives), tf.constant(negatives), temperature=0.3)
        self.assertAllClose(loss, expected, rtol=1e-12, atol=1e-12)

    def test_gradient_by_every_embedding_matches_finite_differences(self):
        weights = np.random.default_rng(0).uniform(0.5, 1.5, [3])

        def weighted(anchors, positives, negatives):
            return tf.reduce_sum(weights * info_nce(anchors, positives, negatives, temperature=0.3))

        arguments = [tf.constant(_vectors(seed, *shape)) for seed, shape in enumerate(([3, 4], [3, 4], [3, 2, 4]))]
        computed, numeric = tf.test.compute_gradient(weighted, arguments, delta=1e-5)
        for gradient, expected in zip(computed, numeric, strict=True):
            self.assertEqual(gradient.dtype, np.float64)
            self.assertAllClose(gradient, expected, rtol=1e-7, atol=1e-7)

    def test_a_rotation_of_all_embeddings_does_not_matter(self):
        embeddings = [_vectors(0, 6, 5), _vectors(1, 6, 5), _vectors(2, 6, 4, 5)]
        rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal([5, 5]))
        loss = info_nce(*map(tf.constant, embeddings), temperature=0.5)
        rotated = info_nce(*(tf.constant(vectors @ rotation) for vectors in embeddings), temperature=0.5)
        self.assertAllClose(loss, rotated, rtol=1e-10, atol=1e-12)

    def test_opposite_embeddings_at_a_tiny_temperature_stay_finite(self):
        # At τ = 1e-3 the logits are ±1000, and e^1000 is no float32. Positive at −1, one negative at +1: 2/τ = 2000.
        axis, anchors = tf.constant([0.0, 1.0]), tf.constant([[0.0, -1.0], [0.0, 1.0]])
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            loss = info_nce(anchors, tf.stack([axis, axis]), -tf.stack([[axis], [axis]]), temperature=1e-3)
        self.assertEqual(loss.dtype, tf.float32)
        self.assertAllClose(loss, [2000.0, 0.0], rtol=1e-6, atol=1e-6)
        self.assertAllClose(tape.gradient(loss, anchors), [[0.0, -2000.0], [0.0, 0.0]], rtol=1e-6, atol=1e-6)


class CrossEntropyOfPositivesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(temperature=[0.1, 0.5, 2.0], num_negatives=[1, 7])
    def test_orthogonal_negatives_match_the_closed_form(self, temperature, num_negatives):
        # cos 1 to the positive, 0 to M negatives: −log(e^{1/τ} / (e^{1/τ} + M)) = log(1 + M·e^{−1/τ}).
        loss = _cross_entropy(tf.ones([4]), tf.zeros([4, num_negatives]), temperature=temperature)
        self.assertAllClose(loss, [math.log1p(num_negatives * math.exp(-1 / temperature))] * 4, rtol=1e-6, atol=1e-6)

    @parameterized.parameters(-1.0, 0.0, 0.3, 1.0)
    def test_equal_similarities_give_the_logarithm_of_the_number_of_candidates(self, similarity):
        loss = _cross_entropy(tf.fill([3], similarity), tf.fill([3, 10], similarity), temperature=0.2)
        self.assertAllClose(loss, [math.log(11)] * 3, rtol=1e-6, atol=0)

    @parameterized.parameters(0.15, 0.2, 3.0)
    def test_losses_match_plain_loops(self, temperature):
        anchors, positives, negatives = _vectors(0, 2, 3, 5), _vectors(1, 2, 3, 5), _vectors(2, 2, 3, 4, 5)
        loss = _cross_entropy(
            tf.constant(np.sum(anchors * positives, -1)),
            tf.constant(np.sum(anchors[..., np.newaxis, :] * negatives, -1)),
            temperature=temperature,
        )
        self.assertEqual(loss.shape, [2, 3])
        for place in np.ndindex(2, 3):
            expected = numpy_method.info_nce(anchors[place], positives[place], list(negatives[place]), temperature)
            self.assertAllClose(loss[place], expected, rtol=1e-12, atol=1e-12)

    def test_gradient_matches_finite_differences(self):
        rng = np.random.default_rng(0)
        similarities = rng.uniform(-1, 1, (2, 3)), rng.uniform(-1, 1, (2, 3, 4))
        weights = rng.uniform(0.5, 1.5, (2, 3))

        def weighted(positives, negatives):
            return tf.reduce_sum(weights * _cross_entropy(positives, negatives, temperature=0.3))

        computed, numeric = tf.test.compute_gradient(weighted, [tf.constant(x) for x in similarities], delta=1e-5)
        for gradient, expected in zip(computed, numeric, strict=True):
            self.assertEqual(gradient.dtype, np.float64)
            self.assertAllClose(gradient, expected, rtol=1e-7, atol=1e-7)

    def test_the_order_of_the_negatives_does_not_matter(self):
        rng = np.random.default_rng(1)
        positives, negatives = tf.constant(rng.uniform(-1, 1, 6)), rng.uniform(-1, 1, (6, 5))
        loss = _cross_entropy(positives, tf.constant(negatives), temperature=0.5)
        shuffled = _cross_entropy(positives, tf.constant(negatives[:, [3, 1, 4, 0, 2]]), temperature=0.5)
        self.assertAllClose(loss, shuffled, rtol=1e-12, atol=1e-12)

    def test_what_all_similarities_share_does_not_matter(self):
        rng = np.random.default_rng(2)
        positives, negatives = tf.constant(rng.uniform(-1, 0, 6)), tf.constant(rng.uniform(-1, 0, (6, 5)))
        loss = _cross_entropy(positives, negatives, temperature=0.5)
        lifted = _cross_entropy(positives + 0.7, negatives + 0.7, temperature=0.5)
        self.assertAllClose(loss, lifted, rtol=1e-12, atol=1e-12)

    def test_probabilities_of_taking_each_candidate_for_the_positive_add_up_to_one(self):
        similarities = np.random.default_rng(3).uniform(-1, 1, 6)
        losses = [
            _cross_entropy(tf.constant(similarities[i]), tf.constant(np.delete(similarities, i)), temperature=0.4)
            for i in range(6)
        ]
        self.assertAllClose(sum(math.exp(-loss) for loss in losses), 1.0, rtol=1e-12, atol=0)

    def test_opposite_embeddings_at_a_tiny_temperature_stay_finite(self):
        # At τ = 1e-3 the logits are ±1000, and e^1000 is no float32. Positive at −1, one negative at +1: 2/τ = 2000.
        similarities = tf.constant([-1.0, 1.0])
        with tf.GradientTape() as tape:
            tape.watch(similarities)
            loss = _cross_entropy(similarities, -similarities[:, tf.newaxis], temperature=1e-3)
        self.assertEqual(loss.dtype, tf.float32)
        self.assertAllClose(loss, [2000.0, 0.0], rtol=1e-6, atol=1e-6)
        self.assertAllClose(tape.gradient(loss, similarities), [-2000.0, 0.0], rtol=1e-6, atol=1e-6)

    def test_several_positives_face_the_same_negatives(self):
        rng = np.random.default_rng(4)
        positives, negatives = tf.constant(rng.uniform(-1, 1, (2, 3))), tf.constant(rng.uniform(-1, 1, (2, 5)))
        losses = cross_entropy_of_positives(two_level_softmax(positives / 0.3, negatives / 0.3))
        self.assertEqual(losses.shape, [2, 3])
        for place in range(3):
            self.assertAllClose(
                losses[:, place], _cross_entropy(positives[:, place], negatives, 0.3), rtol=1e-12, atol=0
            )


if __name__ == "__main__":
    tf.test.main()
