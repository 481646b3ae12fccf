"""Tests of semppl.export.collections.engines.ray_engine: on this machine, and on a cluster of two nodes that loses workers."""

import contextlib
import os
import pathlib
import signal
import unittest
from importlib import util

import tensorflow as tf

from semppl.export import embed
from semppl.tests import testing
from semppl.tests.export.collections.engines.engine_case import PARTS, PICTURES, SETTINGS, EngineCase

if util.find_spec("ray"):
    from ray.cluster_utils import Cluster

    from semppl.export.collections.engines.ray_engine import RayEngine

_MISSING = 'the extra "ray" is not installed'


def _workers(node):
    """Returns the processes of the workers of a node that have a task of Ray Data's."""
    raylet = node.all_processes["raylet"][0].process.pid
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(folder.name))
    return found


@testing.slow
@unittest.skipUnless(util.find_spec("ray"), _MISSING)
class RayEngineTest(EngineCase):
    def test_two_workers_of_this_machine_give_the_rows_of_the_program(self):
        out, reports = self.folder / "out", []
        counts = embed.embed(
            self.model,
            self.reading,
            out,
            engine=RayEngine(workers=2),
            say=lambda done, total: reports.append(done),
            **SETTINGS,
        )
        self.assertEqual(counts, (2 * PICTURES, 2))
        self.assertEqual((len(reports), reports[0], reports[-1]), (1 + len(PARTS), 0, 2 * PICTURES))
        self.assert_expected(out)

    def test_a_worker_that_sees_other_pictures_ends_the_job_with_its_own_message(self):
        moved = self.folder / "pictures" / "99.png"
        self.addCleanup(moved.unlink, missing_ok=True)
        engine, run = RayEngine(), RayEngine.run
        out = self.folder / "changed"

        def add_a_picture(*arguments):
            moved.write_bytes(b"another")
            run(engine, *arguments)

        engine.run = add_a_picture
        with self.assertRaisesRegex(ValueError, "^--data must hold the same pictures for every worker"):
            embed.embed(self.model, self.reading, out, engine=engine, **SETTINGS)
        self.assertEqual([path.name for path in out.iterdir()], ["_begun.json"])

    def test_an_address_without_a_cluster_is_named(self):
        for address in ("127.0.0.1:1", "host_without_port", "ray://127.0.0.1:1"):
            message = f"^--ray_address must be HOST:PORT of a running Ray cluster, or auto. Received: {address} \\("
            with self.assertRaisesRegex(ValueError, message):
                RayEngine(address).run(None, [], print)

    def test_a_killed_worker_and_a_lost_node_lose_nothing_and_double_nothing(self):
        reading, settings = {"data": "digits"}, {"batch_size": 1, "shard_size": 10}
        embed.embed(self.model, reading, self.folder / "expected_digits", **settings)
        out, lost = self.folder / "digits", []
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.addCleanup(cluster.shutdown)
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()

        def lose(done, total):
            """Kills the worker of the second node when that has begun, and the node when its next worker has."""
            if len(lost) < 2 and (workers := _workers(second)) and workers != lost:
                lost.extend(workers)
                if len(lost) == 1:
                    os.kill(workers[0], signal.SIGKILL)
                else:
                    cluster.remove_node(second, allow_graceful=False)

        embed.embed(self.model, reading, out, engine=RayEngine(cluster.address, workers=2), say=lose, **settings)
        self.assertLen(lost, 2)
        self.assert_equal_rows(out, self.folder / "expected_digits")
        self.assertEmpty([path for path in out.iterdir() if path.name.startswith((".", "_begun"))])


if __name__ == "__main__":
    tf.test.main()
