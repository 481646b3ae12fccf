"""Runs the code of docs/tutorials/adding_a_method.md."""

import ast
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import re
import sys
from unittest import mock

import tensorflow as tf

from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.trainers import methods

_PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "tutorials" / "adding_a_method.md"
_MODULE = "semppl.trainers.baselines.simsiam"


def _blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


class AddingAMethodTest(tf.test.TestCase):
    def test_the_method_has_40_lines(self):
        self.assertLessEqual(len(_blocks("python")[0].splitlines()), 40)

    def test_the_method_is_found_by_its_line_and_trained(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        method, training = _blocks("python")
        file = folder / "simsiam.py"
        file.write_text(method, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(_MODULE, file)
        module = importlib.util.module_from_spec(spec)
        (line,) = _blocks("text")
        added = {**methods.METHODS, **ast.literal_eval("{" + line + "}")}
        self.enter_context(mock.patch.dict(sys.modules, {_MODULE: module}))
        self.enter_context(mock.patch.object(methods, "METHODS", added))
        spec.loader.exec_module(module)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            exec(compile(training, str(_PAGE), "exec"), {})
        run = folder / "outputs" / "simsiam"
        self.assertEqual(json.loads((run / "done.json").read_text(encoding="utf-8"))["step"], 20)
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses = [report["loss"] for report in map(json.loads, lines) if "loss" in report]
        self.assertAllInRange(losses, 0.0, 2.0)  # views of an image are nearer than orthogonal
        self.assertLen(set(losses), 2)


if __name__ == "__main__":
    tf.test.main()
