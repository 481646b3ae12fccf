"""Tests of semppl.programs.command_line, over all console scripts."""

import json
import os
import pathlib
import subprocess
import sys
import tomllib
from unittest import mock

from absl import flags
from absl.testing import absltest

import semppl
from semppl.programs import command_line

ROOT = pathlib.Path(semppl.__file__).resolve().parents[1]

# One process imports TensorFlow, and forks for every program, whose flags must not meet another program's.
_RUN_ALL = """
import importlib, io, json, os, sys
import numpy, tensorflow
from absl import flags

def run(entry, arguments):
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.dup2(writer, 1), os.dup2(writer, 2)
        module, _, function = entry.partition(":")
        sys.argv = [module.rpartition(".")[2], *arguments]
        try:
            getattr(importlib.import_module(module), function)()
        except SystemExit as end:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(end.code or 0)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as printed:
        text = printed.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text

entries, cases = json.loads(sys.argv[1])
results = [[entry, case, *run(entry, case)] for entry in entries for case in cases]
print("\\n" + json.dumps(results))
"""


def _run(entries, cases):
    """Runs every program with every command line; returns [entry, arguments, exit code, output]s."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL, json.dumps([entries, cases])],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


class HomeTest(absltest.TestCase):
    def test_a_tilde_at_the_start_of_a_value_is_the_home_folder(self):
        values = flags.FlagValues()
        flags.DEFINE_string("some_folder", "~/default", "", flag_values=values)
        flags.DEFINE_string("some_source", None, "", flag_values=values)
        flags.DEFINE_multi_string("some_files", [], "", flag_values=values)
        argv = [
            "program",
            "--some_folder=~/runs/a",
            "--some_source=folder:~/b",
            "--some_files=~/c.png",
            "--some_files=d~.png",
        ]
        with (
            mock.patch.object(command_line.flags, "FLAGS", values),
            mock.patch.dict(os.environ, {"HOME": "/h/user"}),
        ):
            command_line.parse(argv)
        self.assertEqual(values.some_folder, "/h/user/runs/a")
        self.assertEqual(values.some_source, "folder:~/b")  # the source expands its own path
        self.assertEqual(values.some_files, ["/h/user/c.png", "d~.png"])


class ConsoleScriptsTest(absltest.TestCase):
    def test_a_wrong_command_line_is_one_line_and_exit_code_2(self):
        scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        self.assertNotEmpty(scripts)
        beam = "semppl.export.embed_beam:run"  # leaves flags that Beam may define to Beam
        unknown, value = ["--nonesuch=1"], ["--flagfile=/none/such"]
        for entry, case, code, text in _run(sorted(scripts.values()), [unknown, value, []]):
            with self.subTest(f"{entry} {case}"):
                self.assertEqual(code, 2, text)
                self.assertRegex(text, r"\Aerror: [^\n]* must [^\n]*Received: [^\n]*\n\Z")
                if case == unknown and entry != beam:
                    self.assertIn("Every flag must be one that --helpfull lists. Received: --nonesuch", text)

    def test_a_value_of_the_wrong_type_names_the_flag(self):
        for entry, flag, allowed in (
            ("trainers.pretrain", "batch_size", "an integer"),
            ("evaluation.finetune", "batch_size", "a positive integer"),
            ("export.embed", "batch_size", "a positive integer"),
            ("export.client", "batch_size", "a positive integer"),
            ("export.export_model", "memory", "true or false"),
            ("export.convert", "format", "one of "),
        ):
            ((_, _, code, text),) = _run([f"semppl.{entry}:run"], [[f"--{flag}=many"]])
            self.assertEqual(code, 2, text)
            self.assertStartsWith(text, f"error: --{flag} must be {allowed}")
            self.assertEndsWith(text, ". Received: many\n")

    def test_help_lists_the_batch_size_under_the_program(self):
        entries = [f"semppl.{name}:run" for name in ("evaluation.finetune", "export.embed", "export.client")]
        for entry, _, _, text in _run(entries, [["--help"]]):
            with self.subTest(entry):
                self.assertIn("--batch_size", text)


if __name__ == "__main__":
    absltest.main()
