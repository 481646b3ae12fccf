"""Compares BUILD with the tree, MODULE.bazel with the project, and builds the wheel.

BUILD is Starlark, close enough to Python to be evaluated here with rules that record their arguments.
Where Bazel itself is installed, it is asked as well.
"""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from typing import Any

from absl.testing import absltest

from semppl.tests import pyproject

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOOR = "door"
"""The target whose users call what semppl/__init__.py offers."""
UNDER_BAZEL = "TEST_SRCDIR" in os.environ


class Targets:
    """What BUILD declares: `rules[name]` is the rule, `attributes[name]` its arguments."""

    def __init__(self, text: str, root: pathlib.Path = ROOT):
        self.root = root
        self.rules: dict[str, str] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.requirements: set[str] = set()
        rules = {rule: self._rule(rule) for rule in ("filegroup", "py_binary", "py_library", "py_test")}
        ignored = {name: lambda *_, **__: None for name in ("load", "package")}
        exec(text, {**rules, **ignored, "glob": self._glob, "requirement": self._requirement})

    def of(self, rule: str) -> set[str]:
        return {name for name, its_rule in self.rules.items() if its_rule == rule}

    def closure(self, name: str) -> set[str]:
        """Returns the sources that a target sees, its own and those of everything that it depends on."""
        sources = set(self.attributes[name].get("srcs", []))
        for label in self.attributes[name].get("deps", []):
            if label.startswith(":"):
                sources |= self.closure(label.removeprefix(":"))
        return sources

    def _rule(self, rule):
        def declare(name, **attributes):
            if name in self.rules:
                raise ValueError(f"two targets named {name}")
            self.rules[name], self.attributes[name] = rule, attributes

        return declare

    def _requirement(self, name):
        self.requirements.add(name)
        return f"@pypi//{name}"

    def _glob(self, include, exclude=(), allow_empty=False):
        # Not Path.rglob: Bazel follows links, pathlib does not.
        found = {pattern: set(self._matches(pattern)) for pattern in include}
        if not allow_empty and not all(found.values()):
            raise ValueError(f"glob({include}) matches nothing")
        return sorted(set().union(*found.values()) - {path for pattern in exclude for path in self._matches(pattern)})

    def _matches(self, pattern):
        start = pattern.split("*")[0].rpartition("/")[0]
        regex = re.escape(pattern).replace(r"\*\*/", "(.+/)?").replace(r"\*\*", ".+").replace(r"\*", "[^/]*")
        folders = os.walk(self.root / start, followlinks=True) if "/" in pattern else [next(os.walk(self.root))]
        for folder, _, names in folders:
            for name in names:
                path = pathlib.Path(folder, name).relative_to(self.root).as_posix()
                if re.fullmatch(regex, path):
                    yield path


def targets() -> Targets:
    return Targets((ROOT / "BUILD").read_text(encoding="utf-8"))


def python_files(folder: str) -> set[str]:
    """Returns the paths of the Python files in a root folder, as Bazel names them."""
    return {f"semppl/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.py")}


def code_folders() -> set[str]:
    return {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"semppl"}


def is_program(path: pathlib.Path) -> bool:
    return 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


def modules_imported_by(path: pathlib.Path) -> set[str]:
    """Returns the files of ours that a file imports, as Bazel names them."""
    files = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("semppl"):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("semppl")]
        else:
            continue
        paths = [f"{name.replace('.', '/')}.py" for name in names]
        files |= {path for path in paths if (ROOT / path).is_file()}
    return files


class BuildFileTest(absltest.TestCase):
    def test_there_is_a_test_target_for_every_test_file(self):
        build = targets()
        files = {file for file in python_files("tests") if file.endswith("_test.py")}
        run = {name: build.attributes[name]["args"] for name in build.of("py_test")}
        self.assertCountEqual(run.values(), [[file] for file in files])
        for name, arguments in run.items():
            self.assertEqual([f"semppl/{name}.py"], arguments)
            self.assertIn(arguments[0], build.attributes[name]["srcs"])

    def test_every_file_that_holds_a_test_is_a_test_file(self):
        for file in python_files("tests"):
            text = (ROOT / file).read_text(encoding="utf-8")
            if re.search(r"^ *def test_", text, re.MULTILINE):
                self.assertEndsWith(file, "_test.py")

    def test_there_is_a_library_for_every_folder_and_each_file_is_in_one(self):
        build = targets()
        for folder in code_folders() - {"tests"}:
            self.assertEqual(build.rules.get(folder), "py_library", folder)
            self.assertContainsSubset(python_files(folder), build.closure(folder))
        sources = [source for name in build.of("py_library") for source in build.attributes[name].get("srcs", [])]
        self.assertLen(sources, len(set(sources)))

    def test_there_is_a_binary_for_every_entry_point(self):
        build = targets()
        programs = {
            file for folder in code_folders() - {"tests"} for file in python_files(folder) if is_program(ROOT / file)
        }
        self.assertCountEqual([build.attributes[name]["main"] for name in build.of("py_binary")], programs)

    def test_every_target_sees_what_its_sources_import(self):
        build = targets()
        for name in build.of("py_library") | build.of("py_binary") | build.of("py_test"):
            for source in build.attributes[name].get("srcs", []):
                if source.startswith("semppl/"):
                    seen = build.closure(DOOR if source == "semppl/__init__.py" else name)  # which imports lazily
                    missing = modules_imported_by(ROOT / source) - seen
                    self.assertEmpty(
                        missing, f"{source} imports what //:{name} does not see (TESTS_ALSO_SEE in BUILD?)"
                    )

    def test_every_requirement_is_locked(self):
        lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        for package in targets().requirements:
            self.assertRegex(lock, rf"(?m)^{re.escape(package)}==")

    def test_a_file_without_a_target_is_found(self):
        root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        (root / "tests" / "losses").mkdir(parents=True)
        (root / "tests" / "losses" / "a_test.py").touch()
        (root / "tests" / "b_test.py").touch()
        (root / "semppl").mkdir()
        (root / "semppl" / "tests").symlink_to("../tests")
        build = Targets('[py_test(name = t, args = [t]) for t in glob(["semppl/tests/**/*_test.py"])]', root)
        self.assertCountEqual(build.of("py_test"), ["semppl/tests/b_test.py", "semppl/tests/losses/a_test.py"])
        build = Targets('[py_test(name = t, args = [t]) for t in glob(["semppl/tests/*_test.py"])]', root)
        self.assertCountEqual(build.of("py_test"), ["semppl/tests/b_test.py"])
        with self.assertRaisesRegex(ValueError, "matches nothing"):
            Targets('py_library(name = "a", srcs = glob(["semppl/losses/*.py"]))', root)

    @unittest.skipIf(UNDER_BAZEL, "Bazel does not run inside Bazel")
    @unittest.skipUnless(shutil.which("bazel-4"), "bazel-bootstrap is not installed")
    def test_bazel_reads_the_same_targets(self):
        command = ["bazel/test", sys.executable, "query", "--output=label_kind", "//:all"]
        try:
            answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        except subprocess.TimeoutExpired:
            self.skipTest("Bazel did not answer: another run may hold its lock")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        build = targets()
        kinds = [tuple(line.split(" rule //:")) for line in answer.stdout.splitlines()]
        self.assertCountEqual(kinds, [(build.rules[name], name) for name in build.rules])


class ModuleFileTest(absltest.TestCase):
    def test_version_and_python_are_those_of_the_project(self):
        module = (ROOT / "MODULE.bazel").read_text(encoding="utf-8")
        project = pyproject.project()
        code = (ROOT / "semppl" / "__init__.py").read_text(encoding="utf-8")
        self.assertEqual(
            re.findall(r'^ +version = "(.+)"', module, re.MULTILINE), re.findall(r'__version__ = "(.+)"', code)
        )
        pythons = set(re.findall(r'python_version = "(.+)"', module))
        self.assertEqual(pythons, {"3.11"})  # of requirements.lock, by which MODULE.bazel goes
        self.assertIn("Programming Language :: Python :: 3.11", project["classifiers"])


class ProjectFileTest(absltest.TestCase):
    def test_every_command_names_a_function(self):
        project = pyproject.project()
        for target in project["scripts"].values():
            module, function = target.split(":")
            tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
            self.assertIn(function, {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, target)


@unittest.skipIf(UNDER_BAZEL, "the wheel is built from the checkout, not under Bazel")
class WheelTest(absltest.TestCase):
    def test_the_wheel_holds_the_package_and_nothing_else(self):
        try:
            import wheel  # noqa: F401
        except ImportError:
            self.skipTest("the wheel package, which setuptools builds with, is not installed")
        scratch = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        for folder in ("semppl", *code_folders()):  # not in place: setuptools leaves build/ and *.egg-info behind
            shutil.copytree(
                ROOT / folder, scratch / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "goldens")
            )
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, scratch)
        command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", "dist"]
        built = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual(built.returncode, 0, built.stderr)
        (path,) = (scratch / "dist").glob("semppl-*.whl")
        names = zipfile.ZipFile(path).namelist()
        code = {name for name in names if name.endswith(".py")}
        expected = set().union(*(python_files(folder) for folder in code_folders() - {"tests", "benchmarks"}))
        self.assertCountEqual(code, expected | {"semppl/__init__.py", "semppl/keras_two.py"})
        presets = {f"semppl/configs/{path.name}" for path in (ROOT / "configs").glob("*.flags")}
        self.assertContainsSubset(presets, names)
        self.assertEqual({name.split("/")[0].split("-")[0] for name in names}, {"semppl"})


if __name__ == "__main__":
    absltest.main()
