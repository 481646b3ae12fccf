"""Tests of semppl.benchmarks.peer_step."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.benchmarks import peer_step
from semppl.tests import testing


class PeerStepTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_loss_is_that_of_plain_loops(self):
        embeddings = np.random.default_rng(0).standard_normal((2, 5, 4))
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
        flat, expected = embeddings.reshape(10, 4), []
        for view in range(10):
            scores = {other: math.exp(flat[view] @ flat[other] / 0.5) for other in range(10) if other != view}
            expected.append(-math.log(scores[(view + 5) % 10] / sum(scores.values())))
        self.assertAllClose(peer_step.nt_xent(tf.constant(embeddings), temperature=0.5), expected, rtol=1e-9)

    @parameterized.parameters("float32", "bfloat16")
    def test_both_steps_run(self, precision):
        steps = peer_step.steps("convnet", 4, precision)
        first, _ = steps["ours"](), steps["bare"]()
        self.assertLess(steps["ours"](), first)


if __name__ == "__main__":
    assert testing
    tf.test.main()
