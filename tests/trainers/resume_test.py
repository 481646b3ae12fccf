"""A run that is stopped at any moment goes on as if it had not been: real processes, stopped and started again."""

import atexit
import concurrent.futures
import fcntl
import functools
import json
import pathlib
import random
import resource
import shutil
import subprocess
import tempfile
import time

from absl.testing import absltest

from semppl.tests import testing
from semppl.tests.trainers import runs

_REPORTS = [5, 10, 15, 20, 25, 30, 35, 40]


@functools.cache
def _undisturbed() -> pathlib.Path:
    """Returns the folder of a run that nobody stops."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    run = runs.Run(pathlib.Path(folder, "run"))
    if run.wait() != 0:
        raise AssertionError(run.stderr)
    return run.workdir


class _Case(absltest.TestCase):
    def folder(self):
        return pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

    def finish(self, workdir, *flags):
        """Runs to the end; returns what was printed."""
        run = runs.Run(workdir, *flags)
        self.assertEqual(run.wait(), 0, run.stderr)
        return run.stdout

    def assertEndsAsUndisturbed(self, workdir):
        self.assertEqual(runs.digest(workdir), runs.digest(_undisturbed()))
        self.assertEqual(runs.reported_steps(workdir), _REPORTS)
        self.assertEqual((workdir / "metrics.jsonl").read_bytes(), (_undisturbed() / "metrics.jsonl").read_bytes())
        self.assertEmpty(list(workdir.glob("checkpoints/*_temp")))


class StoppedTest(_Case):
    def test_a_run_that_is_stopped_at_every_stage_ends_with_the_same_weights(self):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pool.submit(_undisturbed)
            self._stop_at_every_stage()

    def _stop_at_every_stage(self):
        workdir = self.folder() / "run"
        self._stop(runs.Run(workdir), "SIGTERM", after=1.0)  # TensorFlow is being imported
        self._stop(runs.Run(workdir), "SIGKILL", when=(workdir / ".lock").exists)  # the model is being built
        self._stop(runs.Run(workdir), "SIGTERM", when=lambda: list(workdir.glob("tensorboard/*")))  # the step is traced
        run = runs.Run(workdir, "--checkpoint_every=1")
        self._stop(run, "SIGKILL", when=lambda: list(workdir.glob("checkpoints/step-1?_temp/*")))  # it is being saved
        run = runs.Run(workdir)
        self._stop(run, "SIGTERM", when=lambda: 25 in runs.reported_steps(workdir))
        self.assertRegex(run.stdout, r"\ngoing on from step \d+ of 40\n")
        saved = f"saved at step {runs.checkpointed_step(workdir)}; the same command resumes from there"
        self.assertIn(f"\nstopped on SIGTERM: {saved}\n", run.stdout)
        self.assertBetween(runs.checkpointed_step(workdir), 25, 39)
        self.assertFalse((workdir / "done.json").exists())
        self._stop(runs.Run(workdir), "SIGKILL", when=lambda: runs.checkpointed_step(workdir) == 40)
        printed = self.finish(workdir)
        self.assertIn("\nfinished already: all 40 steps are done, nothing is trained\n", printed)
        self.assertEndsAsUndisturbed(workdir)

    def _stop(self, run, by, *, when=lambda: True, after=0.0, at_random=False):
        """Stops a run at a moment, and looks at what it leaves behind."""
        time.sleep(after)
        self.assertTrue(run.wait_until(when), run.stderr)
        done = run.workdir / "done.json"
        if by == "SIGKILL":
            code = run.kill()
            ended = at_random and code == 0 and done.exists()  # by itself, a moment before
            self.assertTrue(code == -9 or ended, run.stderr)
        else:
            code, seconds = run.terminate()
            too_early = not run.stdout or done.exists()  # Python was starting, or closing down
            deaf = code == -15 and too_early  # a shell reports 143 for this, too
            self.assertEqual((143 if deaf else code, run.stderr), (143, ""), run.stdout)
            self.assertLess(seconds, 10)
        reports = runs.reported_steps(run.workdir)
        self.assertEqual(reports, _REPORTS[: len(reports)])

    @testing.slow
    def test_a_run_that_is_stopped_at_random_moments_ends_with_the_same_weights(self):
        for seed in range(5):
            workdir, rng = self.folder() / "run", random.Random(seed)
            for _ in range(6):
                run = runs.Run(workdir, f"--checkpoint_every={rng.choice((1, 2, 7))}")
                ahead = (runs.reported_steps(workdir)[-1:] or [0])[0] + 5 * rng.choice((1, 1, 2, 20))
                how = {"when": functools.partial(_reaches, workdir, ahead)} if ahead <= 40 else {}
                by, after = rng.choice(("SIGKILL", "SIGTERM")), rng.uniform(0, 0.1 if how else 12)
                self._stop(run, by, after=after, at_random=True, **how)
                if runs.checkpointed_step(workdir) == 40:
                    break
            self.finish(workdir)
            self.assertEndsAsUndisturbed(workdir)


def _reaches(workdir, step):
    return step in runs.reported_steps(workdir)


class StartedAgainTest(_Case):
    def test_a_finished_run_says_so_and_trains_nothing(self):
        workdir = _undisturbed()
        before = _times(workdir)
        printed = self.finish(workdir)
        self.assertIn("\nfinished already: all 40 steps are done, nothing is trained\n", printed)
        self.assertEqual(_times(workdir), before)

    def test_other_settings_are_refused_by_name(self):
        workdir = _undisturbed()
        before = _times(workdir)
        run = runs.Run(workdir, "--learning_rate=0.3", "--seed=4")
        self.assertEqual(run.wait(), 2)
        self.assertEqual(
            run.stderr,
            f"error: --workdir must hold a run with the same settings, or none. Received: {workdir}, which differs in "
            "--learning_rate=0.3 (there: 0.008); --seed=4 (there: 0)\n",
        )
        self.assertEqual(_times(workdir), before)

    def test_folders_may_move_and_the_new_ones_are_recorded(self):
        workdir = self.folder() / "run"
        shutil.copytree(_undisturbed(), workdir)
        self.finish(workdir, "--cache_dir=elsewhere", "--data_dir=there")
        settings = json.loads((workdir / "hyperparameters.json").read_text())
        self.assertEqual((settings["cache_dir"], settings["data_dir"]), ("elsewhere", "there"))
        self.assertEndsAsUndisturbed(workdir)

    def test_other_data_are_refused(self):
        workdir = self.folder() / "run"
        shutil.copytree(_undisturbed(), workdir)
        description = json.loads((workdir / "data.json").read_text())
        (workdir / "data.json").write_text(json.dumps(description | {"labelled": description["labelled"] + 1}))
        run = runs.Run(workdir, "--cache_dir=elsewhere")
        self.assertEqual(run.wait(), 2)
        self.assertEqual(json.loads((workdir / "hyperparameters.json").read_text())["cache_dir"], "")
        self.assertStartsWith(run.stderr, "error: --data must be the images and labels that the run began with: ")
        self.assertIn(
            f"{description['labelled']} labelled, where there were {description['images']:,} images, ", run.stderr
        )

    def test_one_process_at_a_time(self):
        workdir = self.folder() / "run"
        workdir.mkdir()
        with (workdir / ".lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # as another process does
            run = runs.Run(workdir)
            self.assertEqual(run.wait(), 2)
        self.assertEqual(
            run.stderr,
            f"error: --workdir must be in use by one process only. Received: {workdir}, where another one trains\n",
        )


def _times(workdir):
    """When what a run has learnt and reported was last written."""
    files = [path for path in workdir.rglob("*") if path.is_file() and path.name not in (".lock", "done.json")]
    return {path: path.stat().st_mtime_ns for path in files}


class FullDiskTest(_Case):
    def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(self):
        disk = self.folder()
        # Two checkpoints fit, and not the third, which is written before the first is removed.
        size = int(2.5 * sum(path.stat().st_size for path in _undisturbed().glob("checkpoints/step-40.*")))
        command = ["mount", "-t", "tmpfs", "-o", f"size={size + 100_000}", "tmpfs", str(disk)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            self.skipTest("only root can mount a small disk")
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        workdir = disk / "run"
        run = runs.Run(workdir, scratch=self.folder())
        self.assertEqual(run.wait(), 4, run.stderr)
        self.assertEqual(
            run.stderr,
            f"error: --workdir must have room for the run. Received: {workdir} (No space left on device). "
            "Earlier checkpoints are intact: make room, and the same command goes on from there.\n",
        )
        step = runs.checkpointed_step(workdir)
        self.assertGreater(step, 0)
        roomy = self.folder() / "run"
        shutil.copytree(workdir, roomy)
        self.assertIn(f"\ngoing on from step {step} of 40\n", self.finish(roomy))
        self.assertEndsAsUndisturbed(roomy)

    @testing.slow
    def test_a_disk_that_takes_no_checkpoint_is_one_line(self):
        workdir = self.folder() / "run"
        limit = 50_000  # bytes a file
        run = runs.Run(workdir, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(run.wait(), 4, run.stderr)
        self.assertRegex(
            run.stderr, r"^error: --workdir must have room for the run\. .* \(File too large\)\. [^\n]+\n$"
        )
        self.finish(workdir)
        self.assertEndsAsUndisturbed(workdir)


if __name__ == "__main__":
    absltest.main()
