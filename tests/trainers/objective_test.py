"""Tests of semppl.trainers.objective."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import collectives
from semppl.layers.semantic_positives import SemanticPositives
from semppl.tests import numpy_method, testing
from semppl.trainers import objective


class Case(NamedTuple):
    """The arguments of `objective.terms` for the global batch, as arrays."""

    anchors: Any  # [V,N,D]
    targets: Any  # [L,N,D]
    negatives: Any  # [N,L,M]
    queues: Any  # [L,Q,D]
    slots: Any  # [N,L,R]
    present: Any  # [N]


def _case(large=2, small=1, batch=5, width=4, negatives=3, capacity=7, positives=2, seed=0):
    rng = np.random.default_rng(seed)

    def vectors(*shape):
        values = rng.standard_normal((*shape, width))
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    def others(image):
        return rng.permutation(np.delete(np.arange(batch), image))[:negatives]

    return Case(
        vectors(large + small, batch),
        vectors(large, batch),
        np.array([[others(image) for _ in range(large)] for image in range(batch)], np.int32),
        vectors(large, capacity),
        rng.integers(0, capacity, (batch, large, positives)).astype(np.int32),
        np.arange(batch) % 3 != 1,  # the second, the fifth, … image has no class in the queue
    )


def _terms(case, temperature=0.3, dtype=tf.float64):
    return objective.terms(
        tf.cast(case.anchors, dtype),
        tf.range(case.anchors.shape[1]),
        tf.cast(case.targets, dtype),
        tf.constant(case.negatives),
        tf.cast(case.queues, dtype),
        SemanticPositives(tf.constant(case.slots), tf.constant(case.present)),
        temperature=temperature,
    )


def _oracle(case, temperature=0.3, teachers=None):
    slots = [drawn if there else [] for drawn, there in zip(case.slots, case.present, strict=True)]
    return numpy_method.terms(
        case.anchors, case.targets, case.negatives, case.queues, slots, temperature=temperature, teachers=teachers
    )


def _relabelled(case, order):
    """Gives the large views other numbers."""
    small = list(range(len(case.targets), len(case.anchors)))
    return case._replace(
        anchors=case.anchors[[*order, *small]],
        targets=case.targets[order],
        negatives=case.negatives[:, order],
        queues=case.queues[order],
        slots=case.slots[:, order],
    )


class TermsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(views=[(1, 0), (1, 2), (2, 0), (2, 1), (3, 2)], temperature=[0.15, 0.2, 1.3])
    def test_terms_match_plain_loops(self, views, temperature):
        case = _case(*views)
        self.assertAllClose(_terms(case, temperature), _oracle(case, temperature), rtol=1e-10, atol=1e-12)

    def test_terms_in_float32_match_plain_loops(self):
        case = _case()
        self.assertAllClose(_terms(case, dtype=tf.float32), _oracle(case), rtol=1e-5, atol=1e-6)

    @parameterized.parameters(0, 1, 2, 3)
    def test_gradient_matches_finite_differences_with_the_teacher_held_still(self, term):
        case = _case(batch=4, width=3)
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            value = _terms(case._replace(anchors=anchors))[term]
        gradient = tape.gradient(value, anchors).numpy()
        for place in np.ndindex(*case.anchors.shape):
            moved = []
            for delta in (1e-5, -1e-5):
                anchors = case.anchors.copy()
                anchors[place] += delta
                moved.append(_oracle(case._replace(anchors=anchors), teachers=case.anchors)[term])
            self.assertAllClose(gradient[place], (moved[0] - moved[1]) / 2e-5, rtol=1e-6, atol=1e-8)
        self.assertEqual(np.any(gradient[2] != 0), term < 2)  # the small view has no part in the invariance

    def test_no_gradient_reaches_the_targets_or_the_queues(self):
        case = _case()
        targets, queues = tf.constant(case.targets), tf.constant(case.queues)
        with tf.GradientTape() as tape:
            tape.watch([targets, queues])
            total = tf.add_n(list(_terms(case._replace(targets=targets, queues=queues))))
        self.assertEqual(tape.gradient(total, [targets, queues]), [None, None])

    @parameterized.parameters(((0.0, 1.0),), ((0.6, -0.8),))
    def test_constant_embeddings_give_the_logarithm_of_eleven(self, prediction):
        # All cosines alike, with M = 10: every ℓ is ln 11 and every KL 0, so the loss is 0.3·1.2·ln 11 = 0.86324.
        case = _case(large=4, small=2, batch=16, width=2, negatives=10, positives=3)
        case = case._replace(
            anchors=np.broadcast_to(prediction, case.anchors.shape),
            targets=np.broadcast_to([0.0, 1.0], case.targets.shape),
            queues=np.broadcast_to([0.0, 1.0], case.queues.shape),
        )
        terms = _terms(case, temperature=0.2)
        self.assertAllClose(list(terms), [math.log(11), math.log(11), 0.0, 0.0], rtol=1e-12, atol=1e-12)

    @parameterized.parameters(tf.float32, tf.float64)
    def test_no_image_with_a_class_gives_exactly_zero_and_no_gradient(self, dtype):
        case = _case()._replace(present=np.zeros(5, bool))
        anchors = tf.constant(case.anchors, dtype)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(anchors)
            terms = _terms(case._replace(anchors=anchors), dtype=dtype)
            semantic = terms.contrastive_semantic + terms.invariance_semantic
        self.assertAllEqual([terms.contrastive_semantic, terms.invariance_semantic], [0.0, 0.0])
        self.assertAllEqual(tape.gradient(semantic, anchors), np.zeros(anchors.shape))
        self.assertAllGreater([terms.contrastive_augmentation, terms.invariance_augmentation], 0.0)

    def test_without_semantic_positives_their_terms_and_gradients_are_zero(self):
        case = _case(positives=0)._replace(present=np.zeros(5, bool))
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = _terms(case._replace(anchors=anchors))
            total = tf.add_n(list(terms))
        self.assertAllEqual([terms.contrastive_semantic, terms.invariance_semantic], [0.0, 0.0])
        self.assertTrue(np.all(np.isfinite(tape.gradient(total, anchors))))
        self.assertAllClose(_terms(case)[0::2], _terms(_case(positives=2))[0::2], rtol=1e-12, atol=0)

    def test_one_image_with_a_class_is_the_whole_mean(self):
        case = _case()
        alone = case._replace(present=np.arange(5) == 3)
        semantic = _terms(alone)[1::2]
        for image in range(5):
            single = case._replace(present=np.arange(5) == image)
            same = np.allclose(_terms(single)[1::2], semantic, rtol=1e-6, atol=0)
            self.assertEqual(same, image == 3)
        self.assertAllClose(_terms(alone)[0::2], _terms(case)[0::2], rtol=1e-12, atol=0)

    def test_what_the_images_without_a_class_would_have_drawn_does_not_matter(self):
        case = _case()
        slots = np.where(case.present[:, np.newaxis, np.newaxis], case.slots, 6 - case.slots)
        self.assertAllClose(_terms(case), _terms(case._replace(slots=slots)), rtol=1e-12, atol=0)

    def test_views_that_agree_have_no_divergence(self):
        # All views alike: both sides of every pair see the same candidates, drawn for j, and so the same distribution.
        case = _case(large=3, small=0)
        case = case._replace(
            anchors=np.repeat(case.anchors[:1], 3, 0),
            targets=np.repeat(case.targets[:1], 3, 0),
            queues=np.repeat(case.queues[:1], 3, 0),
        )
        terms = _terms(case)
        self.assertAllClose(terms[2:], [0.0, 0.0], rtol=0, atol=1e-12)

    def test_with_one_large_view_there_is_no_invariance(self):
        terms = _terms(_case(large=1, small=2))
        self.assertAllEqual(terms[2:], [0.0, 0.0])

    def test_the_numbering_of_the_views_does_not_matter(self):
        case = _case(large=3, small=1)
        self.assertAllClose(_terms(case), _terms(_relabelled(case, [2, 0, 1])), rtol=1e-12, atol=0)

    def test_small_views_stand_after_the_large_ones(self):
        case = _case(large=2, small=1)
        swapped = case._replace(anchors=case.anchors[[2, 1, 0]])
        self.assertAllClose(_terms(case)[0], _terms(swapped)[0], rtol=1e-12, atol=0)  # every view meets every target
        self.assertNotAllClose(_terms(case)[2], _terms(swapped)[2], rtol=1e-3, atol=0)  # only large views are compared

    def test_opposite_embeddings_at_a_tiny_temperature_stay_finite(self):
        case = _case()
        anchors = tf.constant(-case.targets[[0, 1, 0]], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = _terms(case._replace(anchors=anchors), temperature=1e-3, dtype=tf.float32)
            total = tf.add_n(list(terms))
        self.assertAllInRange(list(terms), 0.0, 3000.0)
        self.assertAllInRange(tape.gradient(total, anchors), -1e4, 1e4)


class ReplicaTermsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(2, 4)
    def test_the_shares_of_the_replicas_add_up_to_the_terms(self, replicas):
        # The images with a class are all on the first replica, and one of the second.
        case = _case(batch=8)._replace(present=np.array([1, 1, 1, 0, 1, 0, 0, 0], bool))
        strategy = testing.replicas(replicas)
        batch = 8 // replicas

        def share(anchors, negatives, slots, present):
            rows = collectives.local_rows(batch, 0)
            positives = SemanticPositives(slots, present)
            targets, queues = tf.constant(case.targets), tf.constant(case.queues)
            with tf.GradientTape() as tape:
                tape.watch(anchors)
                terms = objective.terms(anchors, rows, targets, negatives, queues, positives, temperature=0.3)
                total = tf.add_n(list(terms))
            return collectives.all_reduce_sum(tf.stack(terms)), tape.gradient(total, anchors)

        def rows_of(values, axis=0):
            parts = np.split(values, replicas, axis)
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(parts[context.replica_id_in_sync_group])
            )

        arguments = rows_of(case.anchors, 1), rows_of(case.negatives), rows_of(case.slots), rows_of(case.present)
        sums, gradients = tf.function(lambda: strategy.run(share, args=arguments))()
        for terms in strategy.experimental_local_results(sums):
            self.assertAllClose(terms, list(_oracle(case)), rtol=1e-10, atol=1e-12)
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            total = tf.add_n(list(_terms(case._replace(anchors=anchors))))
        together = np.concatenate(strategy.experimental_local_results(gradients), axis=1)
        self.assertAllClose(together, tape.gradient(total, anchors), rtol=1e-10, atol=1e-12)


if __name__ == "__main__":
    tf.test.main()
