"""Tests of semppl.losses.objective."""

import itertools
import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.losses import objective
from semppl.losses.info_nce import info_nce
from semppl.tests import numpy_method
from semppl.tests.losses.objective_cases import expected_terms, image_terms, make_case


def _terms(case, temperature=0.3, dtype=tf.float64, **options):
    """Returns the means of the terms over the images that have them."""
    counts = np.array([len(case.present), np.sum(case.present)] * 2)
    sums = [tf.reduce_sum(values) for values in image_terms(case, temperature=temperature, dtype=dtype, **options)]
    means = (tf.math.divide_no_nan(total, tf.cast(n, dtype)) for total, n in zip(sums, counts, strict=True))
    return objective.Terms(*means)


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


class ImageTermsTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_image_has_values_of_its_own(self):
        # A batch of which one image alone has a class: its semantic values are the whole means, and all others 0.
        case = make_case()
        values = image_terms(case)
        for image in range(5):
            present = np.arange(5) == image
            semantic = expected_terms(case._replace(present=present))[1::2] if case.present[image] else (0.0, 0.0)
            found = [values.contrastive_semantic[image], values.invariance_semantic[image]]
            self.assertAllClose(found, semantic, rtol=1e-10, atol=1e-12)
        for term in values:
            self.assertEqual(term.shape, [5])

    @parameterized.parameters(0.2, 1.3)
    def test_the_contrastive_values_are_means_of_info_nce_over_pairs_of_views(self, temperature):
        case = make_case(large=2, small=1)
        values = image_terms(case, temperature=temperature)
        for b in range(5):
            augmentation, semantic = [], []
            for i, j in np.ndindex(3, 2):
                negatives = tf.constant(case.targets[j, case.negatives[b, j]])
                losses = [
                    info_nce(tf.constant(case.anchors[i, b]), tf.constant(positive), negatives, temperature=temperature)
                    for positive in (case.targets[j, b], *case.queues[j, case.slots[b, j]])
                ]
                augmentation.append(losses[0])
                semantic.append(np.mean(losses[1:]))
            self.assertAllClose(values.contrastive_augmentation[b], np.mean(augmentation), rtol=1e-10, atol=1e-12)
            expected = np.mean(semantic) if case.present[b] else 0.0
            self.assertAllClose(values.contrastive_semantic[b], expected, rtol=1e-10, atol=1e-12)

    def test_the_invariance_values_are_means_of_divergences_over_distinct_views(self):
        case = make_case(large=3, small=0)
        values = image_terms(case).invariance_augmentation
        for b in range(5):
            divergences = []
            for i, j in itertools.permutations(range(3), 2):
                candidates = [b, *case.negatives[b, j]]
                teacher = numpy_method.softmax(case.targets[j, candidates] @ case.anchors[i, b] / 0.3)
                student = numpy_method.softmax(case.targets[i, candidates] @ case.anchors[j, b] / 0.3)
                divergences.append(numpy_method.kl(teacher, student))
            self.assertAllClose(values[b], np.mean(divergences), rtol=1e-10, atol=1e-12)

    def test_without_semantic_positives_every_semantic_value_is_zero(self):
        values = image_terms(make_case(positives=0)._replace(present=np.zeros(5, bool)))
        self.assertAllEqual([values.contrastive_semantic, values.invariance_semantic], np.zeros([2, 5]))

    def test_rows_say_where_the_images_stand_in_the_global_batch(self):
        case = make_case()
        rows = [3, 1]
        share = case._replace(anchors=case.anchors[:, rows])
        share = share._replace(**{name: getattr(case, name)[rows] for name in ("negatives", "slots", "present")})
        for chosen, every in zip(image_terms(share, rows=tf.constant(rows)), image_terms(case), strict=True):
            self.assertAllClose(chosen, tf.gather(every, rows), rtol=1e-12, atol=1e-12)


class TermsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(views=[(1, 0), (1, 2), (2, 0), (2, 1), (3, 2)], temperature=[0.15, 0.2, 1.3])
    def test_terms_match_plain_loops(self, views, temperature):
        case = make_case(*views)
        self.assertAllClose(_terms(case, temperature), expected_terms(case, temperature), rtol=1e-10, atol=1e-12)

    def test_terms_in_float32_match_plain_loops(self):
        case = make_case()
        self.assertAllClose(_terms(case, dtype=tf.float32), expected_terms(case), rtol=1e-5, atol=1e-6)

    @parameterized.product(term=[0, 1, 2, 3], stop_teacher=[True, False])
    def test_gradient_matches_finite_differences_with_the_teacher_held_still_if_asked(self, term, stop_teacher):
        case = make_case(batch=4, width=3)
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            value = _terms(case._replace(anchors=anchors), stop_teacher=stop_teacher)[term]
        gradient = tape.gradient(value, anchors).numpy()
        teachers = case.anchors if stop_teacher else None
        for place in np.ndindex(*case.anchors.shape):
            moved = []
            for delta in (1e-5, -1e-5):
                anchors = case.anchors.copy()
                anchors[place] += delta
                moved.append(expected_terms(case._replace(anchors=anchors), teachers=teachers)[term])
            self.assertAllClose(gradient[place], (moved[0] - moved[1]) / 2e-5, rtol=1e-6, atol=1e-8)
        self.assertEqual(np.any(gradient[2] != 0), term < 2)  # the small view has no part in the invariance

    def test_no_gradient_reaches_the_targets_or_the_queues(self):
        case = make_case()
        targets, queues = tf.constant(case.targets), tf.constant(case.queues)
        with tf.GradientTape() as tape:
            tape.watch([targets, queues])
            total = tf.add_n(list(_terms(case._replace(targets=targets, queues=queues))))
        self.assertEqual(tape.gradient(total, [targets, queues]), [None, None])

    @parameterized.parameters(((0.0, 1.0),), ((0.6, -0.8),))
    def test_constant_embeddings_give_the_logarithm_of_eleven(self, prediction):
        # All cosines alike, with M = 10: every ℓ is ln 11 and every KL 0, so the loss is 0.3·1.2·ln 11 = 0.86324.
        case = make_case(large=4, small=2, batch=16, width=2, negatives=10, positives=3)
        case = case._replace(
            anchors=np.broadcast_to(prediction, case.anchors.shape),
            targets=np.broadcast_to([0.0, 1.0], case.targets.shape),
            queues=np.broadcast_to([0.0, 1.0], case.queues.shape),
        )
        terms = _terms(case, temperature=0.2)
        self.assertAllClose(list(terms), [math.log(11), math.log(11), 0.0, 0.0], rtol=1e-12, atol=1e-12)

    @parameterized.parameters(tf.float32, tf.float64)
    def test_no_image_with_a_class_gives_exactly_zero_and_no_gradient(self, dtype):
        case = make_case()._replace(present=np.zeros(5, bool))
        anchors = tf.constant(case.anchors, dtype)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(anchors)
            terms = _terms(case._replace(anchors=anchors), dtype=dtype)
            semantic = terms.contrastive_semantic + terms.invariance_semantic
        self.assertAllEqual([terms.contrastive_semantic, terms.invariance_semantic], [0.0, 0.0])
        self.assertAllEqual(tape.gradient(semantic, anchors), np.zeros(anchors.shape))
        self.assertAllGreater([terms.contrastive_augmentation, terms.invariance_augmentation], 0.0)

    def test_without_semantic_positives_their_terms_and_gradients_are_zero(self):
        case = make_case(positives=0)._replace(present=np.zeros(5, bool))
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = _terms(case._replace(anchors=anchors))
            total = tf.add_n(list(terms))
        self.assertAllEqual([terms.contrastive_semantic, terms.invariance_semantic], [0.0, 0.0])
        self.assertTrue(np.all(np.isfinite(tape.gradient(total, anchors))))
        self.assertAllClose(_terms(case)[0::2], _terms(make_case(positives=2))[0::2], rtol=1e-12, atol=0)

    def test_one_image_with_a_class_is_the_whole_mean(self):
        case = make_case()
        alone = case._replace(present=np.arange(5) == 3)
        semantic = _terms(alone)[1::2]
        for image in range(5):
            single = case._replace(present=np.arange(5) == image)
            same = np.allclose(_terms(single)[1::2], semantic, rtol=1e-6, atol=0)
            self.assertEqual(same, image == 3)
        self.assertAllClose(_terms(alone)[0::2], _terms(case)[0::2], rtol=1e-12, atol=0)

    def test_what_the_images_without_a_class_would_have_drawn_does_not_matter(self):
        case = make_case()
        slots = np.where(case.present[:, np.newaxis, np.newaxis], case.slots, 6 - case.slots)
        self.assertAllClose(_terms(case), _terms(case._replace(slots=slots)), rtol=1e-12, atol=0)

    def test_views_that_agree_have_no_divergence(self):
        # All views alike: both sides of every pair see the same candidates, drawn for j, and so the same distribution.
        case = make_case(large=3, small=0)
        case = case._replace(
            anchors=np.repeat(case.anchors[:1], 3, 0),
            targets=np.repeat(case.targets[:1], 3, 0),
            queues=np.repeat(case.queues[:1], 3, 0),
        )
        terms = _terms(case)
        self.assertAllClose(terms[2:], [0.0, 0.0], rtol=0, atol=1e-12)

    def test_with_one_large_view_there_is_no_invariance(self):
        terms = _terms(make_case(large=1, small=2))
        self.assertAllEqual(terms[2:], [0.0, 0.0])

    def test_the_numbering_of_the_views_does_not_matter(self):
        case = make_case(large=3, small=1)
        self.assertAllClose(_terms(case), _terms(_relabelled(case, [2, 0, 1])), rtol=1e-12, atol=0)

    def test_small_views_stand_after_the_large_ones(self):
        case = make_case(large=2, small=1)
        swapped = case._replace(anchors=case.anchors[[2, 1, 0]])
        self.assertAllClose(_terms(case)[0], _terms(swapped)[0], rtol=1e-12, atol=0)  # every view meets every target
        self.assertNotAllClose(_terms(case)[2], _terms(swapped)[2], rtol=1e-3, atol=0)  # only large views are compared

    def test_opposite_embeddings_at_a_tiny_temperature_stay_finite(self):
        case = make_case()
        anchors = tf.constant(-case.targets[[0, 1, 0]], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = _terms(case._replace(anchors=anchors), temperature=1e-3, dtype=tf.float32)
            total = tf.add_n(list(terms))
        self.assertAllInRange(list(terms), 0.0, 3000.0)
        self.assertAllInRange(tape.gradient(total, anchors), -1e4, 1e4)


class AugmentationTermsTest(tf.test.TestCase, parameterized.TestCase):
    def _terms(self, case, rows=None, negatives=None, same=None, temperature=0.3, dtype=tf.float64):
        return objective.augmentation_terms(
            tf.cast(case.anchors, dtype),
            tf.cast(case.targets, dtype),
            rows=tf.range(case.anchors.shape[1]) if rows is None else tf.constant(rows),
            negatives=negatives,
            same=same,
            temperature=temperature,
        )

    def _with_all_negatives(self, **sizes):
        """Makes a case in which every image draws all others, in an order of its own for each target view."""
        case = make_case(**sizes)
        return make_case(**sizes, negatives=case.anchors.shape[1] - 1)

    @parameterized.product(views=[(1, 0), (2, 1), (3, 2)], temperature=[0.15, 1.3])
    def test_with_sampled_negatives_the_terms_are_those_of_the_objective(self, views, temperature):
        case = make_case(*views)
        found = self._terms(case, negatives=tf.constant(case.negatives), temperature=temperature)
        self.assertAllClose(list(found), image_terms(case, temperature=temperature)[0::2], rtol=1e-12, atol=1e-14)

    @parameterized.product(large=[1, 2, 3], small=[0, 1], temperature=[0.15, 1.3])
    def test_with_all_other_images_the_terms_match_plain_loops(self, large, small, temperature):
        case = self._with_all_negatives(large=large, small=small)
        found = [tf.reduce_mean(values) for values in self._terms(case, temperature=temperature)]
        self.assertAllClose(found, expected_terms(case, temperature)[0::2], rtol=1e-10, atol=1e-12)

    @parameterized.parameters(0.15, 1.3)
    def test_rows_that_repeat_an_image_are_no_negatives(self, temperature):
        groups = np.array([0, 1, 2, 2, 0, 1])  # each image twice
        case = make_case(batch=6)
        others = np.stack([np.flatnonzero(groups != group) for group in groups]).astype(np.int32)
        case = case._replace(negatives=np.repeat(others[:, np.newaxis], len(case.targets), axis=1))
        same = tf.constant(groups[:, np.newaxis] == groups)
        found = [tf.reduce_mean(values) for values in self._terms(case, same=same, temperature=temperature)]
        self.assertAllClose(found, expected_terms(case, temperature)[0::2], rtol=1e-10, atol=1e-12)

    def test_without_any_other_image_terms_and_gradient_are_zero(self):
        case = make_case(batch=3)
        anchors = tf.constant(case.anchors, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = self._terms(case._replace(anchors=anchors), same=tf.ones([3, 3], tf.bool), dtype=tf.float32)
        self.assertAllEqual(list(terms), np.zeros([2, 3]))
        self.assertAllEqual(tape.gradient(terms, anchors), np.zeros_like(case.anchors))

    def test_rows_say_where_the_images_stand_in_the_global_batch(self):
        case = make_case()
        share = self._terms(case._replace(anchors=case.anchors[:, [3, 1]]), rows=[3, 1])
        for chosen, every in zip(share, self._terms(case), strict=True):
            self.assertAllClose(chosen, tf.gather(every, [3, 1]), rtol=1e-12, atol=1e-14)

    @parameterized.parameters(0.1, 0.5, 2.0)
    def test_orthogonal_images_with_equal_views_have_a_closed_form(self, temperature):
        # Cosine 1 with the image itself and 0 with 5 others: −log(e^{1/τ}/(e^{1/τ} + 5)), and equal rankings.
        axes = np.stack([np.eye(6)] * 2)
        found = self._terms(make_case()._replace(anchors=axes, targets=axes), temperature=temperature)
        expected = math.log1p(5 * math.exp(-1 / temperature))
        self.assertAllClose(list(found), [[expected] * 6, [0.0] * 6], rtol=1e-12, atol=1e-14)

    @parameterized.parameters(0, 1)
    def test_the_gradient_is_the_slope_with_the_teacher_held_still(self, term):
        case = self._with_all_negatives(batch=4, width=3)
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            value = tf.reduce_mean(self._terms(case._replace(anchors=anchors))[term])
        direction = np.random.default_rng(1).normal(size=case.anchors.shape)
        ends = [
            expected_terms(case._replace(anchors=case.anchors + delta * direction), teachers=case.anchors)[2 * term]
            for delta in (1e-6, -1e-6)
        ]
        slope = np.sum(tape.gradient(value, anchors).numpy() * direction)
        self.assertAllClose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-7)

    def test_opposite_embeddings_at_a_tiny_temperature_stay_finite(self):
        case = make_case()
        anchors = tf.constant(-case.targets[[0, 1, 0]], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = self._terms(case._replace(anchors=anchors), temperature=1e-3, dtype=tf.float32)
        self.assertAllInRange(list(terms), 0.0, 3000.0)
        self.assertAllInRange(tape.gradient(terms, anchors), -1e4, 1e4)


if __name__ == "__main__":
    tf.test.main()
