"""Tests of semppl.runs.training_time."""

import datetime
import pathlib
import platform
import tempfile

import numpy as np
from absl.testing import absltest

import semppl
from semppl.runs import training_time


class TrainingTimeTest(absltest.TestCase):
    def test_processes_are_read_as_recorded(self):
        workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.assertEqual(training_time.read_processes(workdir), [])
        at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        training_time.record_start(workdir, 0, "two CPUs", at)  # is killed
        with (workdir / "processes.jsonl").open("a") as file:
            file.write('{"begins": \n')  # a line that was cut short
        training_time.record_start(workdir, 5, "one CPU", at)
        training_time.record_end(workdir, 9, at + datetime.timedelta(seconds=90))
        killed, ended = training_time.read_processes(workdir)
        self.assertEqual((killed["step"], killed["devices"], killed["seconds"]), (0, "two CPUs", None))
        self.assertEqual((ended["step"], ended["last_step"], ended["seconds"]), (5, 9, 90.0))
        self.assertEqual(ended["begins"], "2026-01-02T03:04:05+00:00")
        self.assertEqual(ended["versions"]["numpy"], np.__version__)
        self.assertEqual(ended["versions"]["python"], platform.python_version())
        self.assertEqual(ended["versions"]["semppl"], semppl.__version__)


if __name__ == "__main__":
    absltest.main()
