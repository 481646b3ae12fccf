"""Tests of semppl.benchmarks.peer_step."""

import math
import pathlib

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
    @testing.slow
    def test_both_steps_run(self, precision):
        steps = peer_step.steps("convnet", 4, precision)
        first, _ = steps["ours"](), steps["bare"]()
        self.assertLess(steps["ours"](), first)

    def test_a_peer_answers_each_request_with_seconds(self):
        script = pathlib.Path(self.create_tempdir().full_path) / "python"
        script.write_text("#!/bin/sh\necho ready\nwhile read line; do echo 0.25; done\n")
        script.chmod(0o755)
        peer = peer_step.Peer(str(script), "simclr", "resnet18_cifar", 4, "float32")
        self.assertEqual([peer(), peer()], ["0.25", "0.25"])
        peer.close()
        self.assertEqual(peer.process.returncode, 0)

    @parameterized.parameters("/bin/false", "nowhere/python")
    def test_without_torch_one_is_told_how_to_get_it(self, python):
        with self.assertRaisesRegex(ValueError, "--torch_python must be .*pip install torch==.* lightly=="):
            peer_step.Peer(python, "simclr", "resnet18_cifar", 4, "float32")


if __name__ == "__main__":
    assert testing
    tf.test.main()
