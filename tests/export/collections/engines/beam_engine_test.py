"""Tests of semppl.export.collections.engines.beam_engine: the rows of the engine of this process, from a pipeline."""

import os
import pathlib
import subprocess
import sys
import unittest
from importlib import util

import tensorflow as tf

import semppl
from semppl.export import embed
from semppl.tests import testing
from semppl.tests.export.collections.engines.engine_case import PARTS, PICTURES, SETTINGS, EngineCase

if util.find_spec("apache_beam"):
    from semppl.export.collections.engines.beam_engine import BeamEngine


@unittest.skipUnless(util.find_spec("apache_beam"), 'the extra "beam" is not installed')
class BeamEngineTest(EngineCase):
    def test_a_pipeline_gives_the_rows_of_the_program(self):
        out, reports = self.folder / "out", []
        counts = embed.embed(
            self.model,
            self.reading,
            out,
            engine=BeamEngine(),
            say=lambda done, total: reports.append((done, total)),
            **SETTINGS,
        )
        self.assertEqual(counts, (2 * PICTURES, 2))
        self.assertEqual(reports, [(0, 22), (22, 22)])
        self.assert_expected(out)

    def test_a_pipeline_continues_what_another_engine_began(self):
        out = self.folder / "continued"
        embed.embed(self.model, self.reading, out, **SETTINGS)
        (out / "_manifest.json").rename(out / "_begun.json")
        for name in PARTS[2:4]:
            (out / name).unlink()
        (out / ".part-00002.parquet.killed").touch()
        times = {name: (out / name).stat().st_mtime_ns for name in PARTS if (out / name).exists()}
        embed.embed(self.model, self.reading, out, engine=BeamEngine(), **SETTINGS)
        self.assertEqual({name: (out / name).stat().st_mtime_ns for name in times}, times)
        self.assert_expected(out)

    def test_a_flag_that_nobody_knows_is_refused(self):
        with self.assertRaisesRegex(ValueError, "^Flags must be this program's or Beam's. Received: --fils$"):
            BeamEngine(["--fils=2"])

    def test_a_runner_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(ValueError, r"^--runner must be one that is installed. Received: NoneSuch \("):
            BeamEngine(["--runner=NoneSuch"])

    def test_a_folder_whose_name_is_a_pattern_is_written(self):
        out = self.folder / "a[1]"
        embed.embed(self.model, self.reading, out, engine=BeamEngine(), **SETTINGS)
        self.assert_expected(out)

    def _run(self, out, *options):
        """Runs the program with Beam as a process of its own."""
        command = [sys.executable, "-m", "semppl.export.embed", f"--model={self.model}", f"--out={out}"]
        command += [f"--data={self.reading['data']}", *(f"--{name}={value}" for name, value in SETTINGS.items())]
        root = str(pathlib.Path(semppl.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": root}
        command += ["--engine=beam", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def test_the_command_passes_beams_own_flags_on(self):
        out = self.folder / "by_command"
        ran = self._run(out, "--runner=DirectRunner", "--direct_num_workers=1")
        self.assertEqual(ran.returncode, 0, ran.stderr[-2000:])
        self.assertIn(f"{2 * PICTURES - 2} pictures embedded in {out}; 2 more could not be read", ran.stdout)
        self.assert_expected(out)

    @testing.slow
    def test_several_processes_give_the_rows_of_the_program(self):
        out = self.folder / "processes"
        ran = self._run(out, "--direct_running_mode=multi_processing", "--direct_num_workers=2")
        self.assertEqual(ran.returncode, 0, ran.stderr[-2000:])
        self.assert_expected(out)


if __name__ == "__main__":
    tf.test.main()
