"""Tests of semppl.programs.command_line and menu, over all console scripts."""

import ast
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
from unittest import mock

from absl import flags
from absl.testing import absltest

import semppl
from semppl.configs import choices
from semppl.programs import command_line, menu
from semppl.tests import pyproject

ROOT = pathlib.Path(semppl.__file__).resolve().parents[1]

# One process forks for every program, whose flags must not meet another program's. No package that takes long is there.
_SLOW = ("tensorflow", "sklearn", "matplotlib", "pyarrow", "faiss", "apache_beam", "ray")
_RUN_ALL = """
import importlib, json, os, sys
import numpy
from absl import app, flags
import semppl.configs.hyperparameters

scripts, cases, slow = json.loads(sys.argv[1])
sys.modules |= dict.fromkeys(slow)

def run(script, entry, arguments):
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.dup2(writer, 1), os.dup2(writer, 2)
        module, _, function = entry.partition(":")
        sys.argv = ["bin/" + script, *arguments]
        try:
            getattr(importlib.import_module(module), function)()
        except SystemExit as end:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(end.code or 0)
        except BaseException as error:
            print("unexpected:", error, flush=True)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as printed:
        text = printed.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text

results = [[script, case, *run(script, entry, case)] for script, entry in scripts.items() for case in cases]
print("\\n" + json.dumps(results))
"""
_SCRIPTS = pyproject.project()["scripts"]
_MENU = "semppl"


def _run(names, cases):
    """Runs every program with every command line; returns [script, arguments, exit code, output]s."""
    scripts = {name: _SCRIPTS[name] for name in names}
    done = subprocess.run(
        [sys.executable, "-c", _RUN_ALL, json.dumps([scripts, cases, _SLOW])],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
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
    def test_a_wrong_command_line_is_one_line_and_exit_code_2_before_tensorflow_is_imported(self):
        unknown, value = ["--nonesuch=1"], ["--flagfile=/none/such"]
        for script, case, code, text in _run(sorted(_SCRIPTS.keys() - {_MENU}), [unknown, value, []]):
            with self.subTest(f"{script} {case}"):
                if (script, case) == ("semppl-client", []):
                    continue  # the pictures are arguments
                self.assertEqual(code, 2, text)
                self.assertRegex(text, r"\Aerror: [^\n]* must [^\n]*Received: [^\n]*\n\Z")
                if case == unknown:
                    self.assertIn("Every flag must be one that --helpfull lists. Received: --nonesuch", text)

    def test_help_comes_before_tensorflow_is_imported_and_begins_with_the_meaning(self):
        for script, _, _, text in _run(sorted(_SCRIPTS.keys() - {_MENU}), [["--help"]]):
            with self.subTest(script):
                self.assertStartsWith(text, ast.get_docstring(ast.parse(_source(script))).partition(".")[0][:40])
                self.assertIn("\nflags:\n", text)
                self.assertNotIn("unexpected", text)

    def test_help_of_evaluate_lists_the_folder_of_the_run_and_every_evaluator(self):
        ((_, _, _, text),) = _run(["semppl-evaluate"], [["--help"]])
        self.assertIn("--workdir", text)
        for name in choices.EVALUATORS:
            self.assertIn(name, text)

    def test_arguments_that_are_no_flags_are_refused(self):
        ((_, _, code, text),) = _run(["semppl-evaluate"], [["--workdir=a", "extra", "one"]])
        self.assertEqual((code, text), (2, "error: Arguments must be flags, --name=value. Received: extra one\n"))

    def test_settings_that_do_not_suit_each_other_are_refused_before_tensorflow_is_imported(self):
        for script in ("semppl-pretrain", "semppl-doctor"):
            ((_, _, code, text),) = _run(
                [script], [["--workdir=a", "--labels_per_class=1", "--batch_size=8", "--negatives=8"]]
            )
            self.assertEqual(code, 2)
            self.assertEqual(text, "error: --batch_size must be at least negatives + 1 = 9. Received: 8\n")

    def test_a_value_of_the_wrong_type_names_the_flag(self):
        for script, flag, allowed in (
            ("pretrain", "batch_size", "an integer"),
            ("finetune", "batch_size", "a positive integer"),
            ("embed", "batch_size", "a positive integer"),
            ("client", "batch_size", "a positive integer"),
            ("export", "memory", "true or false"),
            ("convert", "format", "one of "),
        ):
            ((_, _, code, text),) = _run([f"semppl-{script}"], [[f"--{flag}=many"]])
            self.assertEqual(code, 2, text)
            self.assertStartsWith(text, f"error: --{flag} must be {allowed}")
            self.assertEndsWith(text, ". Received: many\n")

    def test_flags_of_an_engine_come_with_that_engine(self):
        for flags_of_engine, message in (
            (["--ray_workers=2"], "--ray_workers must come with --engine=ray. Received: --engine=local"),
            (
                ["--engine=beam", "--ray_address=a"],
                "--ray_address must come with --engine=ray. Received: --engine=beam",
            ),
            (["--engine=ray", "--runner=a"], "Every flag must be one that --helpfull lists. Received: --runner"),
            (["--engine=bean", "--runner=a"], "--engine must be one of local, beam, ray. Received: bean"),
            (["--engine=local", "a"], "Arguments must be flags, --name=value. Received: a"),
            (["--engine", "beam", "--runner=a"], 'This needs the extra "beam": pip install "semppl[beam]"'),
        ):
            ((_, _, code, text),) = _run(["semppl-embed"], [["--model=a", *flags_of_engine]])
            self.assertEqual((code, text), (2, f"error: {message}\n"))

    def test_help_lists_the_batch_size_under_the_program(self):
        for script, _, _, text in _run(["semppl-finetune", "semppl-embed", "semppl-client"], [["--help"]]):
            with self.subTest(script):
                self.assertIn("--batch_size", text)


def _source(script):
    module = _SCRIPTS[script].partition(":")[0]
    return (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


class MenuTest(absltest.TestCase):
    def test_every_script_is_a_program_of_the_menu(self):
        entries = {f"semppl-{name}": f"{module}:run" for name, (module, _) in menu.PROGRAMS.items()}
        self.assertEqual({_MENU: "semppl.programs.menu:run"} | entries, _SCRIPTS)

    def test_alone_it_lists_the_programs_in_the_order_of_use(self):
        for case in ([], ["--help"], ["help"]):
            ((_, _, code, text),) = _run([_MENU], [case])
            self.assertEqual(code, 0)
            listed = re.findall(r"^  (\S+)  +\S", text, re.MULTILINE)
            self.assertEqual(listed, list(menu.PROGRAMS))
            self.assertEqual(listed[:4], ["doctor", "pretrain", "evaluate", "report"])

    def test_its_first_argument_is_a_program(self):
        (with_menu,) = _run([_MENU], [["pretrain", "--learning_rat=1"]])
        (alone,) = _run(["semppl-pretrain"], [["--learning_rat=1"]])
        self.assertEqual(with_menu[2:], alone[2:])
        self.assertEqual(alone[2], 2)

    def test_a_command_is_ready_to_copy(self):
        with mock.patch.object(menu.shutil, "which", return_value="/bin/semppl-export"):
            self.assertEqual(menu.command("export", "--workdir=a b"), "semppl-export '--workdir=a b'")
        with mock.patch.object(menu.shutil, "which", return_value=None):
            python, *rest = shlex.split(menu.command("export", "--workdir=$a"))
        self.assertEqual(os.path.abspath(python), sys.executable)
        self.assertEqual(rest, ["-m", "semppl.export.export_model", "--workdir=$a"])

    def test_a_program_that_does_not_exist_is_one_line(self):
        ((_, _, _, text),) = _run([_MENU], [["evalute"]])
        self.assertStartsWith(text, "error: The first argument must be one of doctor, pretrain, evaluate, ")
        self.assertEndsWith(text, ". Received: evalute; did you mean evaluate?\n")


if __name__ == "__main__":
    absltest.main()
