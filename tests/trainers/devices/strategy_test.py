"""Tests of semppl.trainers.devices.strategy."""

import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

import grpc
import tensorflow as tf
from absl.testing import parameterized

from semppl.tests import testing
from semppl.trainers.devices import strategy
from semppl.trainers.devices.workers import Cluster

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_NAMES_A_TPU = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_CONFIG")


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class _Case(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.dict(os.environ))
        for name in (*_NAMES_A_TPU, "TF_CONFIG"):
            os.environ.pop(name, None)

    def name_workers(self, count):
        addresses = [f"127.0.0.1:{1 + port}" for port in range(count)]
        task = {"type": "worker", "index": 0}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})

    def start(self, program):
        """Runs a program in a process of its own, which ends with the test."""
        process = self.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONPATH": str(_ROOT), "CUDA_VISIBLE_DEVICES": ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self.addCleanup(process.kill)
        return process


class DescribeTest(_Case):
    def test_one_device_and_several_are_described_in_words(self):
        self.assertEqual(strategy.describe(testing.replicas(1)), "one CPU")
        self.assertEqual(strategy.describe(testing.replicas(2)), "2 CPUs, mirrored")

    @parameterized.parameters(
        (tf.distribute.TPUStrategy, "8 TPU cores"),
        (tf.distribute.MultiWorkerMirroredStrategy, "8 GPUs of 1 worker"),
        (tf.distribute.MirroredStrategy, "8 GPUs, mirrored"),
    )
    def test_kinds_that_are_not_here_are_described_too(self, kind, expected):
        with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU"] * 4):
            self.assertEqual(strategy.describe(mock.Mock(spec=kind, num_replicas_in_sync=8)), expected)


class ChooseTest(_Case):
    @parameterized.parameters("nope", "", "TPU", "multi_worker")
    def test_an_unknown_name_is_answered_with_what_there_is(self, name):
        with self.assertRaises(ValueError) as caught:
            strategy.choose(name)
        expected = f"--strategy must be one of auto, default, mirrored, multiworker, tpu. Received: {name}"
        self.assertEqual(str(caught.exception), expected)

    @parameterized.parameters("default", "multiworker", "tpu")
    def test_what_is_asked_for_is_chosen(self, name):
        self.assertEqual(strategy.choose(name)[:2], (name, "asked for"))

    def test_mirrored_says_that_there_is_no_gpu(self):
        self.assertEqual(strategy.choose("mirrored")[:2], ("mirrored", "asked for, but there is no GPU"))
        with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU:0"]):
            self.assertEqual(strategy.choose("mirrored")[:2], ("mirrored", "asked for"))

    @parameterized.parameters("default", "mirrored", "multiworker")
    def test_an_address_of_a_tpu_goes_with_a_tpu(self, name):
        with self.assertRaises(ValueError) as caught:
            strategy.choose(name, "local")
        expected = f"--tpu must come with --strategy=tpu or auto. Received: --tpu=local --strategy={name}"
        self.assertEqual(str(caught.exception), expected)

    def test_auto_is_one_cpu_where_nothing_else_is_and_does_not_look_for_a_tpu(self):
        start = time.monotonic()
        with mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver", side_effect=AssertionError):
            self.assertEqual(strategy.choose("auto")[:2], ("default", "auto: no GPU, no TPU named"))
        self.assertLess(time.monotonic() - start, 1)

    @parameterized.parameters((1, "default"), (2, "mirrored"))
    def test_auto_takes_all_gpus(self, count, name):
        with mock.patch.object(tf.config, "list_logical_devices", return_value=["GPU"] * count):
            self.assertEqual(strategy.choose("auto")[:2], (name, f"auto: {count} GPU, no TPU named"))

    @parameterized.parameters(*_NAMES_A_TPU)
    def test_auto_takes_a_tpu_that_is_named_before_all_else(self, variable):
        self.name_workers(2)
        os.environ[variable] = "x"
        self.assertEqual(strategy.choose("auto")[:2], ("tpu", f"auto: {variable} is set"))
        self.assertEqual(strategy.choose("auto", "local")[:2], ("tpu", "auto: --tpu=local"))

    def test_auto_joins_other_workers_without_waking_the_devices(self):
        self.name_workers(3)
        with mock.patch.object(tf.config, "list_logical_devices", side_effect=AssertionError):
            self.assertEqual(strategy.choose("auto")[:2], ("multiworker", "auto: TF_CONFIG names 3 workers"))

    def test_auto_takes_one_worker_for_none(self):
        self.name_workers(1)
        self.assertEqual(strategy.choose("auto")[0], "default")

    def test_auto_does_not_pass_over_a_tf_config_without_sense(self):
        os.environ["TF_CONFIG"] = "nonsense"
        with self.assertRaisesRegex(ValueError, "^TF_CONFIG must be like .* Received: nonsense$"):
            strategy.choose("auto")


class MakeStrategyTest(_Case):
    def test_default_is_one_device(self):
        self.assertIs(strategy.make_strategy("default"), tf.distribute.get_strategy())
        self.assertEqual(strategy.make_strategy("default").num_replicas_in_sync, 1)

    def test_mirrored_takes_every_logical_device(self):
        devices = strategy.make_strategy("mirrored")
        self.assertIsInstance(devices, tf.distribute.MirroredStrategy)
        self.assertEqual(devices.num_replicas_in_sync, testing.NUM_CPU_DEVICES)

    def test_workers_must_be_named(self):
        with self.assertRaises(ValueError) as caught:
            strategy.make_strategy("multiworker")
        expected = (
            "--strategy must be auto, default or mirrored, or TF_CONFIG name the workers. Received: multiworker, "
        )
        self.assertEqual(str(caught.exception), expected + "without TF_CONFIG")

    def test_workers_that_do_not_start_are_named_before_tensorflow_waits_for_them(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        cluster = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:2"]}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
        with (
            mock.patch.object(tf.distribute, "MultiWorkerMirroredStrategy", side_effect=AssertionError),
            self.assertRaisesRegex(
                ValueError, r"^TF_CONFIG must name workers that start within 0\.3 s .* 127\.0\.0\.1:2$"
            ),
        ):
            strategy.make_strategy("multiworker", cluster=Cluster.from_environment(), worker_patience=0.3)

    @parameterized.parameters(None, "nonesuch", "grpc://127.0.0.1:1")
    def test_where_no_tpu_answers_the_error_says_what_to_do(self, tpu_name):
        if tpu_name:
            os.environ["TPU_NAME"] = tpu_name
        offline = mock.patch("urllib.request.urlopen", side_effect=OSError("no network"))
        with offline, self.assertRaises(ValueError) as caught:
            strategy.make_strategy("tpu")
        message = str(caught.exception)
        self.assertStartsWith(message, "--tpu must be a TPU that answers: its name, grpc://HOST:PORT, or `local`")
        self.assertIn(f"Received: --tpu={tpu_name or ''} (", message)
        self.assertNotIn("\n", message)

    def test_a_tpu_of_this_machine_that_is_not_there_is_told(self):
        with self.assertRaisesRegex(ValueError, r"^--tpu must be .* Received: --tpu=local \(this machine has none\)$"):
            strategy.make_strategy("tpu", tpu="local")

    def test_a_tpu_that_does_not_answer_is_not_waited_for(self):
        silent = self.enter_context(socket.socket())
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
            start = time.monotonic()
            with (
                mock.patch.object(strategy, "_SECONDS_TO_ANSWER", 0.2),
                self.assertRaisesRegex(ValueError, "timed out"),
            ):
                strategy.make_strategy("tpu", tpu=f"grpc://127.0.0.1:{address[1]}")
            self.assertLess(time.monotonic() - start, 5)
        finally:
            for caller in waiting:
                caller.close()

    def test_an_address_that_takes_calls_and_says_nothing_is_not_waited_for(self):
        silent = self.enter_context(socket.create_server(("127.0.0.1", 0)))
        with (
            mock.patch.object(strategy, "_SECONDS_TO_ANSWER", 0.5),
            self.assertRaisesRegex(ValueError, r"accepts connections, but does not answer within 0\.5 s"),
        ):
            strategy.make_strategy("tpu", tpu=f"grpc://127.0.0.1:{silent.getsockname()[1]}")

    def test_a_server_that_is_no_tensorflow_is_told(self):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        self.addCleanup(server.stop, None)
        with self.assertRaises(ValueError) as caught:
            strategy.make_strategy("tpu", tpu=f"grpc://{address}")
        message = str(caught.exception)
        received = f"Received: --tpu=grpc://{address} ({address} is no TensorFlow server: UNIMPLEMENTED)"
        self.assertEndsWith(message, received)
        self.assertNotIn("\n", message)

    def test_a_tensorflow_server_without_a_tpu_is_asked_and_told(self):
        address = f"127.0.0.1:{_free_port()}"
        server = self.start(_SERVER.format(address=address))
        self.assertEqual(server.stdout.readline(), "serves\n")
        strategy._call(f"grpc://{address}")
        asking = self.start(_ASKS.format(address=address))
        printed, errors = asking.communicate(timeout=_PATIENCE)
        self.assertEqual(asking.returncode, 0, errors)
        self.assertRegex(
            printed, rf"^--tpu must be .* Received: --tpu=grpc://{address} \(TPUs not found in the cluster.*\)\n$"
        )

    @parameterized.parameters(("local", "", "local"), ("", "local", "local"), ("there", "here", "here"), ("", "", None))
    def test_the_flag_names_the_tpu_before_the_environment_does(self, environment, flag, expected):
        os.environ["TPU_NAME"] = environment
        resolver = mock.patch.object(tf.distribute.cluster_resolver, "TPUClusterResolver", side_effect=ValueError("x"))
        with resolver as call, self.assertRaises(ValueError):
            strategy.make_strategy("tpu", tpu=flag)
        call.assert_called_once_with(tpu=expected)  # `local` too: else TensorFlow looks it up in the cloud


_PATIENCE = 120  # seconds that a process has, most of them to import TensorFlow

_SERVER = """
import time
import tensorflow as tf
server = tf.distribute.Server({{"worker": ["{address}"]}}, job_name="worker", task_index=0)
print("serves", flush=True)
time.sleep(600)
"""

_ASKS = """
from semppl.trainers.devices import strategy
try:
    strategy.make_strategy("tpu", tpu="grpc://{address}")
except ValueError as error:
    print(error)
"""

_JOINS_FOR_EVER = """
import time
from semppl.programs import quiet
import tensorflow as tf
from semppl.trainers.devices import strategy
from semppl.trainers.devices.workers import Cluster
def wait():
    print("joins", flush=True)
    time.sleep(600)
tf.distribute.MultiWorkerMirroredStrategy = wait
strategy._SECONDS_TO_JOIN = {seconds}
strategy.make_strategy("multiworker", cluster=Cluster.from_environment(), worker_patience=0.5)
"""

_CHIEF = """
from semppl.programs import quiet
from semppl.trainers.devices import strategy
from semppl.trainers.devices.workers import Cluster
strategy._SECONDS_TO_JOIN = 3
strategy.make_strategy("multiworker", cluster=Cluster.from_environment(), worker_patience=3)
"""


class JoiningTest(_Case):
    """A worker is lost between the meeting of all and TensorFlow's own: each process is one of its own."""

    def setUp(self):
        super().setUp()
        self.port = _free_port()
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

    def name_addresses(self, *addresses):
        task = {"type": "worker", "index": 0}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})

    def assert_told_and_ended(self, process):
        _, errors = process.communicate(timeout=_PATIENCE)
        self.assertEqual(process.returncode, -signal.SIGKILL, errors)
        printed = [line for line in errors.splitlines() if "worker" in line]
        self.assertLen(printed, 1, errors)
        self.assertStartsWith(printed[0], "error: a worker was lost before training began: ")
        self.assertIn("--worker_patience", printed[0])
        return errors

    def test_what_never_joins_ends_in_a_line(self):
        self.name_addresses(f"127.0.0.1:{self.port}")
        errors = self.assert_told_and_ended(self.start(_JOINS_FOR_EVER.format(seconds=0.5)))
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertIn("within 0.5 s", errors)

    def test_what_never_joins_is_interrupted_at_once(self):
        self.name_addresses(f"127.0.0.1:{self.port}")
        process = self.start(_JOINS_FOR_EVER.format(seconds=600))
        self.assertEqual(process.stdout.readline(), "joins\n")
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=_PATIENCE)
        self.assertLess(time.monotonic() - start, 5)
        self.assertEqual((process.returncode, errors), (-signal.SIGINT, ""))

    def test_a_worker_that_meets_the_chief_and_leaves_ends_it(self):
        self.name_addresses(f"127.0.0.1:{self.port}", f"127.0.0.1:{_free_port()}")
        chief = self.start(_CHIEF)
        self.assertStartsWith(chief.stdout.readline(), "waiting for 127.0.0.1:")
        with self.call_chief() as call:
            call.sendall(b"semppl worker 1")
            self.assertEqual(call.recv(2), b"go")
        start = time.monotonic()
        self.assert_told_and_ended(chief)
        self.assertBetween(time.monotonic() - start, 2, 30)

    def call_chief(self):
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)
            except ConnectionRefusedError:  # between what it says and that it listens
                time.sleep(0.05)


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
