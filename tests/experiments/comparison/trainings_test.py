"""Tests of semppl.experiments.comparison.trainings: a comparison that is killed, with a stand-in for the training program."""

import os
import pathlib
import subprocess
import sys
import textwrap
import time

from absl.testing import absltest

import semppl
from semppl.tests import testing  # noqa: F401  (parses the flags)

# Holds its folder and waits; on SIGTERM, takes a second to save. Ends at once where it has saved before.
_TRAINING = """
import fcntl, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[-1].removeprefix("--workdir="))
folder.mkdir(exist_ok=True)
lock = (folder / ".lock").open("a")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
if (folder / "saved").exists():
    sys.exit()
def save(*_):
    time.sleep(1)
    (folder / "saved").touch()
    os._exit(143)
signal.signal(signal.SIGTERM, save)
(folder / "begun").write_text(str(os.getpid()))
time.sleep(60)
"""
_COMPARISON = textwrap.dedent(
    """
    import pathlib, sys
    from semppl.configs.hyperparameters import Hyperparameters
    from semppl.experiments.comparison import plan, trainings
    trainings.PROGRAM = (sys.executable, "-c", sys.argv[1])
    workdir = pathlib.Path(sys.argv[2])
    settings = Hyperparameters(labels_per_class=1)
    runs = [plan.Training("semppl", 1, seed, workdir / str(seed), settings) for seed in range(2)]
    trainings.train_side_by_side(runs, lambda run, seconds, code: print(run.seed, code, flush=True))
    """
)


class KilledTest(absltest.TestCase):
    @absltest.skipUnless(sys.platform == "linux", "other systems have no such signal")
    def test_no_training_outlives_a_comparison_that_is_killed_and_the_next_one_waits_until_they_have_saved(self):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        command = [sys.executable, "-c", _COMPARISON, _TRAINING, str(workdir)]
        killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        begun = [workdir / str(seed) / "begun" for seed in range(2)]
        self._wait_for(lambda: all(file.is_file() and file.read_text() for file in begun))
        killed.kill()
        killed.wait()
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        self.assertEqual(sorted(second.stdout.splitlines()), ["0 0", "1 0"], second.stderr)
        processes = [pathlib.Path("/proc", file.read_text()) for file in begun]
        self._wait_for(lambda: not any(process.exists() for process in processes))

    def _wait_for(self, condition):
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)


if __name__ == "__main__":
    absltest.main()
