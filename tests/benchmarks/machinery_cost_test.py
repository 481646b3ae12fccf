"""Tests of semppl.benchmarks.machinery_cost."""

import numpy as np
import tensorflow as tf

from semppl.benchmarks import machinery_cost, step_share
from semppl.benchmarks.instruments import hlo
from semppl.tests import testing


class MachineryCostTest(tf.test.TestCase):
    def test_it_does_the_work_of_a_step_on_a_full_queue(self):
        settings = machinery_cost.settings_of(64, 16)
        model, anchors, targets, batch = machinery_cost.model_and_inputs(settings)
        self.assertEqual((anchors.shape, targets.shape), ([6, 16, 256], [4, 16, 256]))
        self.assertAllClose(np.linalg.norm(model.queue.embeddings, axis=-1), np.ones([4, 64]), rtol=1e-5)
        self.assertAllGreaterEqual(model.queue.labels, 0)
        gradient = step_share.machinery(model, anchors, targets, batch)
        self.assertEqual(gradient.shape, anchors.shape)
        self.assertGreater(tf.norm(gradient), 0)
        self.assertAllEqual(model.queue.pointer, 2)  # the labelled eighth came in

    def test_the_largest_tensor_is_known(self):
        # Four views of 256 images against 10⁶ entries of a queue, of four bytes.
        settings = machinery_cost.settings_of(10**6, 4096)
        self.assertAlmostEqual(machinery_cost.similarities_in_gigabytes(settings, 16), 4.1, 1)
        self.assertAlmostEqual(machinery_cost.similarities_in_gigabytes(settings), 65.5, 1)

    @testing.slow
    def test_a_replica_compares_its_own_images_and_draws_from_all(self):
        module = machinery_cost.program(machinery_cost.settings_of(64, 32), replicas=4)
        self.assertEqual(hlo.problems(module), [])
        shapes = {tuple(i.shape.dimensions) for computation in module.computations for i in computation.instructions}
        self.assertContainsSubset({(4 * 8, 64), (4, 32, 256)}, shapes)  # [L·B,Q] similarities, [L,N,D] gathered targets
        self.assertNotIn((32, 32), shapes)  # no [N,N]


if __name__ == "__main__":
    assert testing
    tf.test.main()
