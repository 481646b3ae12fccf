"""Tests of semppl.trainers.strategy."""

import os
import socket
import time
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from semppl.tests import testing
from semppl.trainers import strategy

_NAMES_A_TPU = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_CONFIG")


class MakeStrategyTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch.dict(os.environ))
        for name in _NAMES_A_TPU:
            os.environ.pop(name, None)

    @parameterized.parameters("nope", "", "TPU", "multi_worker")
    def test_an_unknown_name_is_answered_with_what_there_is(self, name):
        with self.assertRaises(ValueError) as caught:
            strategy.make_strategy(name)
        expected = f"--strategy must be one of auto, default, mirrored, tpu. Received: {name}"
        self.assertEqual(str(caught.exception), expected)

    def test_default_is_one_device(self):
        self.assertEqual(strategy.make_strategy("default").num_replicas_in_sync, 1)

    def test_mirrored_takes_every_logical_device(self):
        devices = strategy.make_strategy("mirrored")
        self.assertIsInstance(devices, tf.distribute.MirroredStrategy)
        self.assertEqual(devices.num_replicas_in_sync, testing.NUM_CPU_DEVICES)

    def test_auto_is_one_cpu_where_nothing_else_is_and_does_not_look_for_a_tpu(self):
        start = time.monotonic()
        with mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver", side_effect=AssertionError):
            devices = strategy.make_strategy("auto")
        self.assertLess(time.monotonic() - start, 1)
        self.assertIs(devices, tf.distribute.get_strategy())

    @parameterized.parameters((1, "default"), (2, "mirrored"))
    def test_auto_takes_all_gpus(self, count, name):
        with (
            mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU"] * count),
            mock.patch.object(strategy, f"_{name}", return_value=name),
        ):
            self.assertEqual(strategy.make_strategy("auto"), name)

    @parameterized.parameters(("tpu", None), ("tpu", "nonesuch"), ("auto", "nonesuch"), ("tpu", "grpc://127.0.0.1:1"))
    def test_where_no_tpu_answers_the_error_says_what_to_do(self, name, tpu_name):
        if tpu_name:
            os.environ["TPU_NAME"] = tpu_name
        offline = mock.patch("urllib.request.urlopen", side_effect=OSError("no network"))
        with offline, self.assertRaises(ValueError) as caught:
            strategy.make_strategy(name)
        message = str(caught.exception)
        self.assertStartsWith(
            message, "--strategy must be auto, default or mirrored, or TPU_NAME name a TPU that answers"
        )
        self.assertIn(f"Received: tpu, TPU_NAME={tpu_name} (", message)
        self.assertNotIn("\n", message)

    def test_a_tpu_that_does_not_answer_is_not_waited_for(self):
        silent = self.enterContext(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        address = silent.getsockname()
        waiting = []
        try:
            for _ in range(3):  # fills the queue of callers: the next one hears nothing
                caller = socket.socket()
                caller.setblocking(False)
                caller.connect_ex(address)
                waiting.append(caller)
            os.environ["TPU_NAME"] = f"grpc://127.0.0.1:{address[1]}"
            start = time.monotonic()
            with (
                mock.patch.object(strategy, "_SECONDS_TO_ANSWER", 0.2),
                self.assertRaisesRegex(ValueError, "timed out"),
            ):
                strategy.make_strategy("auto")
            self.assertLess(time.monotonic() - start, 5)
        finally:
            for caller in waiting:
                caller.close()

    def test_the_tpu_of_this_machine_is_called_local(self):
        os.environ["TPU_NAME"] = "local"
        with mock.patch.object(
            tf.distribute.cluster_resolver, "TPUClusterResolver", side_effect=ValueError("x")
        ) as call:
            with self.assertRaises(ValueError):
                strategy.make_strategy("tpu")
            call.assert_called_once_with(tpu="local")  # else TensorFlow looks it up in the cloud


class CompilesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("auto", False), ("false", False), ("true", True))
    def test_a_cpu_compiles_only_when_asked(self, value, expected):
        self.assertIs(strategy.compiles(value, tf.distribute.get_strategy()), expected)

    @parameterized.parameters(("auto", True), ("false", False), ("true", True))
    def test_a_gpu_compiles_unless_told_not_to(self, value, expected):
        with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]):
            self.assertIs(strategy.compiles(value, tf.distribute.get_strategy()), expected)

    def test_a_tpu_always_compiles(self):
        with mock.patch.object(strategy, "_is_tpu", return_value=True):
            self.assertTrue(strategy.compiles("auto", tf.distribute.get_strategy()))

    @parameterized.parameters(("auto", False), ("false", False))
    def test_several_cpu_replicas_do_not_compile(self, value, expected):
        self.assertIs(strategy.compiles(value, testing.two_replicas()), expected)

    def test_several_cpu_replicas_cannot_compile(self):
        with self.assertRaisesRegex(ValueError, r"^--jit_compile must be auto or false over .* Received: true$"):
            strategy.compiles("true", testing.two_replicas())

    @parameterized.parameters("yes", "", "True")
    def test_an_unknown_value_is_answered_with_what_there_is(self, value):
        with self.assertRaises(ValueError) as caught:
            strategy.compiles(value, tf.distribute.get_strategy())
        self.assertEqual(str(caught.exception), f"--jit_compile must be auto, true or false. Received: {value}")


if __name__ == "__main__":
    tf.test.main()
