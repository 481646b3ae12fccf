"""Tests of semppl.trainers.global_mean."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers import collectives
from semppl.tests import testing
from semppl.tests.losses.objective_cases import expected_terms, image_terms, make_case
from semppl.trainers.global_mean import global_mean, mean_terms


class GlobalMeanTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_mean_is_over_the_included_images_alone(self):
        mean = global_mean(tf.constant([1.0, 2.0, 30.0, 4.0]), tf.constant([True, True, False, False]))
        self.assertAllEqual(mean, 1.5)

    def test_without_an_included_image_mean_and_gradient_are_zero(self):
        values = tf.constant([1.0, float("nan")])
        with tf.GradientTape() as tape:
            tape.watch(values)
            mean = global_mean(values, tf.constant([False, False]))
        self.assertAllEqual(mean, 0.0)
        self.assertAllEqual(tape.gradient(mean, values), [0.0, 0.0])

    @parameterized.parameters(2, 4)
    def test_the_shares_of_the_replicas_add_up_to_the_terms(self, replicas):
        # The images with a class are all on the first replica, and one of the second.
        case = make_case(batch=8)._replace(present=np.array([1, 1, 1, 0, 1, 0, 0, 0], bool))
        strategy = testing.replicas(replicas)
        batch = 8 // replicas

        def share(anchors, negatives, slots, present):
            rows = collectives.local_rows(batch, 0)
            of_replica = case._replace(anchors=anchors, negatives=negatives, slots=slots, present=present)
            with tf.GradientTape() as tape:
                tape.watch(anchors)
                terms = mean_terms(image_terms(of_replica, rows), present)
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
            self.assertAllClose(terms, list(expected_terms(case)), rtol=1e-10, atol=1e-12)
        anchors = tf.constant(case.anchors)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            per_image = image_terms(case._replace(anchors=anchors))
            total = tf.add_n(list(mean_terms(per_image, tf.constant(case.present))))
        together = np.concatenate(strategy.experimental_local_results(gradients), axis=1)
        self.assertAllClose(together, tape.gradient(total, anchors), rtol=1e-10, atol=1e-12)


if __name__ == "__main__":
    tf.test.main()
