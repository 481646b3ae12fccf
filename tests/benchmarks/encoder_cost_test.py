"""Tests of semppl.benchmarks.encoder_cost."""

from unittest import mock

import tensorflow as tf

from semppl.benchmarks import encoder_cost
from semppl.tests import testing


class EncoderCostTest(tf.test.TestCase):
    def test_a_network_is_counted_and_timed_a_picture(self):
        # Two batches of 4 pictures, of 2 s and 6 s: a median of 4 s.
        with mock.patch.object(encoder_cost.time, "perf_counter", side_effect=[1.0, 3.0, 10.0, 16.0]):
            cost = encoder_cost.cost("keras:MobileNet", size=32, pictures=4, rounds=2)
        self.assertEqual(cost, (3_228_864, 32, 1024, 1000.0))
        row = encoder_cost.row("keras:MobileNet", cost)
        self.assertEqual(row, "| `keras:MobileNet` | 3,228,864 | 32 | 1024 | 1000.0 |")

    def test_without_rounds_nothing_is_timed(self):
        cost = encoder_cost.cost("convnet", size=32, pictures=4, rounds=0)
        self.assertEqual(encoder_cost.row("convnet", cost), "| `convnet` | 93,920 |  | 128 |  |")


if __name__ == "__main__":
    assert testing
    tf.test.main()
