"""Tests of semppl.trainers.devices.workers: what TF_CONFIG may say, and real processes that train together."""

import functools
import json
import os
import pathlib
import tempfile
import time
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.runs import checkpoints
from semppl.tests import testing
from semppl.tests.trainers import runs
from semppl.trainers.devices import strategy, workers
from semppl.trainers.devices.termination import Termination

_TWO = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def _environment(config):
    text = config if isinstance(config, str) else json.dumps(config)
    return mock.patch.dict(os.environ, {"TF_CONFIG": text})


class ClusterTest(parameterized.TestCase):
    @parameterized.parameters("", "  ", "{}")
    def test_without_tf_config_there_is_one_process(self, text):
        with _environment(text):
            cluster = workers.Cluster.from_environment()
        self.assertEqual((cluster.addresses, cluster.size, cluster.place), ((), 1, 0))

    def test_workers_stand_in_the_order_of_their_numbers(self):
        with _environment(_TWO):
            self.assertEqual(workers.Cluster.from_environment(), workers.Cluster(("a:1", "b:2"), 1))

    def test_the_chief_comes_first(self):
        config = {"cluster": {"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "task": {"type": "worker", "index": "1"}}
        with _environment(config):
            self.assertEqual(workers.Cluster.from_environment(), workers.Cluster(("a:1", "b:2", "c:3"), 2))

    @parameterized.parameters(
        "nonsense",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:70000"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [":1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
        '{"cluster":\n{}, "task": {"type": "worker", "index": 0}}',
    )
    def test_what_makes_no_sense_is_one_line_with_an_example(self, text):
        with _environment(text), self.assertRaises(ValueError) as caught:
            workers.Cluster.from_environment()
        message = str(caught.exception)
        self.assertStartsWith(message, 'TF_CONFIG must be like {"cluster": {"worker": ["HOST:PORT"')
        self.assertEndsWith(message, f"Received: {' '.join(text.split())}")
        self.assertNotIn("\n", message)


class AloneTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("default", "mirrored", "tpu")
    def test_a_process_without_others_is_the_chief(self, name):
        with _environment(_TWO):  # which the strategy does not heed
            self.assertTrue(strategy.choose(name).cluster.is_chief)

    def test_of_two_workers_the_first_is_the_chief(self):
        self.assertEqual([workers.Cluster(("a:1", "b:2"), place).is_chief for place in (0, 1)], [True, False])

    def test_a_process_without_others_agrees_with_itself(self):
        workers.require_agreement(workers.ALONE, testing.two_replicas(), {"--any": "thing"}, "wrong")

    def test_a_process_without_others_loses_none(self):
        with self.assertRaises(tf.errors.UnavailableError), workers.noticing_losses(workers.ALONE):
            raise tf.errors.UnavailableError(None, None, "x")

    def test_one_that_follows_lets_sigterm_wait(self):
        termination = Termination()
        following = workers.Following(termination)
        self.assertFalse(termination.underway)
        following.on_train_batch_end(0, {})
        self.assertTrue(termination.underway)


class _Case(tf.test.TestCase):
    def folder(self):
        return pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def ended(self, processes):
        """Waits for processes; returns the exit code of each."""
        codes = [process.wait() for process in processes]
        for process in processes:
            self.assertNotIn("Traceback", process.stderr)
        return codes

    def weights(self, workdir):
        reader = tf.train.load_checkpoint(checkpoints.latest_checkpoint(workdir))
        names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
        return {name: reader.get_tensor(name) for name in names if "save_counter" not in name}


class TogetherTest(_Case):
    _FEW = ("--steps=3", "--warmup_steps=0", "--optimiser=lars", "--learning_rate=1", "--log_every=1")

    def test_two_processes_end_with_the_weights_of_one(self):
        folder = self.folder()
        two = runs.workers(folder / "two", *self._FEW, own_flags=(["--cache_dir=a"], ["--cache_dir=b"]))
        self.assertEqual(self.ended(two), [0, 0], [process.stderr for process in two])
        one = runs.Run(folder / "one", *self._FEW)
        self.assertEqual(self.ended([one]), [0], one.stderr)
        self.assertRegex(
            two[0].stdout,
            r"; 2 CPUs of 2 workers \(auto: TF_CONFIG names 2 workers\); [^\n]+\ncompiling the first step …\n"
            r"[^\n]+\ndone: 3 steps",
        )
        self.assertRegex(
            two[1].stdout,
            r"\Awaiting for the chief, 127\.0\.0\.1:\d+, up to \d+ s \(--worker_patience\)\n2 CPUs of 2 workers "
            r"\(auto: TF_CONFIG names 2 workers\); from step 0 to 3; the chief writes and reports\ndone: 3 steps\n\Z",
        )
        weights, expected = self.weights(folder / "two"), self.weights(folder / "one")
        self.assertCountEqual(weights, expected)
        self.assertGreater(len(weights), 50)
        for name, value in expected.items():
            # One process has another kernel for its batch norm, which shows in the last digits of embeddings.
            tolerance = 3e-6 if "queue/embeddings" in name else 1e-6
            self.assertAllClose(weights[name], value, rtol=tolerance, atol=tolerance, msg=name)
        self.assertEqual(runs.reported_steps(folder / "two"), [1, 2, 3])
        self.assertFalse(list((folder / "two").rglob("*temp*")))


@testing.slow
class LostTest(_Case):
    def test_a_run_whose_workers_are_killed_and_started_again_ends_with_the_same_weights(self):
        folder = self.folder()
        self.assertEqual(self.ended(runs.workers(folder / "undisturbed")), [0, 0])
        workdir = folder / "run"
        for place, step in ((1, 5), (0, 10)):
            pair = runs.workers(workdir)
            self.assertTrue(pair[0].wait_until(functools.partial(self._reaches, workdir, step)), pair[0].stderr)
            self.assertEqual(pair[place].kill(), -9)
            start = time.monotonic()
            self.assertEqual(self.ended([pair[1 - place]]), [workers.WORKER_LOST])
            self.assertLess(time.monotonic() - start, 60)
            self.assertRegex(
                pair[1 - place].stderr, r"\Aerror: a worker was lost \([^\n]+\)\. Start all 2 again, [^\n]+\n\Z"
            )
        pair = runs.workers(workdir)
        self.assertTrue(pair[0].wait_until(functools.partial(self._reaches, workdir, 20)), pair[0].stderr)
        for process in pair:
            process.process.terminate()
        self.assertEqual(self.ended(pair), [143, 143], [process.stderr for process in pair])
        for process in pair:
            self.assertRegex(process.stdout, r"\nstopped on SIGTERM: [^\n]*the same command resumes from [^\n]+\n\Z")
        self.assertBetween(runs.checkpointed_step(workdir), 20, 39)
        pair = runs.workers(workdir)
        self.assertEqual(self.ended(pair), [0, 0])
        self.assertRegex(pair[0].stdout, r"\ngoing on from step [23]\d of 40\n")
        self.assertEqual(runs.digest(workdir), runs.digest(folder / "undisturbed"))
        self.assertEqual(
            (workdir / "metrics.jsonl").read_bytes(), (folder / "undisturbed" / "metrics.jsonl").read_bytes()
        )
        np.testing.assert_equal(self.weights(workdir), self.weights(folder / "undisturbed"))

    def test_workers_with_other_flags_do_not_train_together(self):
        workdir = self.folder() / "run"
        pair = runs.workers(workdir, own_flags=(["--seed=1"], ["--seed=2"]))
        self.assertEqual(self.ended(pair), [2, 2])
        for process in pair:
            self.assertRegex(
                process.stderr,
                r"\Aerror: --workdir must be one folder that all workers see, [^\n]+ "
                r"this worker, and not on all: --seed=[12]\n\Z",
            )

    def _reaches(self, workdir, step):
        return step in runs.reported_steps(workdir)


if __name__ == "__main__":
    tf.test.main()
