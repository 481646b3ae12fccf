"""Holds the documents to the code: commands, flags, files and links exist; the front page is short."""

import ast
import dataclasses
import functools
import importlib
import pathlib
import re
import shlex
from collections.abc import Iterator

from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export import import_checkpoint
from semppl.programs import data_flags, place_flags
from semppl.tests import pyproject

ROOT = pathlib.Path(__file__).resolve().parents[1]
FRONT_PAGE = "README.md"
MAX_WORDS = 700
MAX_COLUMNS = 100
MAX_PICTURE_BYTES = 300_000

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
MODULE = re.compile(r"\bsemppl(?:\.\w+)+\b")
FLAG = re.compile(r"^--([a-z_]+)(?:=.*)?$", re.DOTALL)
DEFINITION = re.compile(r"flags\.DEFINE_(\w+)\(\s*\"(\w+)\"")
FOLDERS = [path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in ("semppl", "tests")]
PATH = re.compile(rf"^(?:{'|'.join([*FOLDERS, 'deploy', 'tests'])})/")
OF_ABSL = {"flagfile": False, "help": True, "helpfull": True}


def documents() -> list[str]:
    """Lists the Markdown files that a reader is meant to read."""
    names = [FRONT_PAGE, "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", "tests/goldens/README.md"]
    return names + sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """Yields the commands in fenced blocks and in backticks, as words; a backslash joins lines."""
    blocks = [body for language, body in FENCE.findall(text) if language in ("", "sh")]
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    for line in lines + CODE.findall(FENCE.sub("", text)):
        for command in re.split(r"&&|\|", line):
            try:
                words = shlex.split(command, comments=True)
            except ValueError:  # a part of a longer quotation
                continue
            if words:
                yield words


@functools.cache
def programs() -> dict[str, str]:
    """Maps each console script to the module of its program."""
    scripts = pyproject.project()["scripts"]
    return {script: entry.partition(":")[0] for script, entry in scripts.items()}


def program_of(words: list[str]) -> str | None:
    """Returns the module that a command runs; None for a command that is not ours."""
    if "-m" in words and words[words.index("-m") + 1 :][:1] and words[words.index("-m") + 1].startswith("semppl."):
        return words[words.index("-m") + 1]
    if words[0] == "semppl" and len(words) > 1:
        return programs().get(f"semppl-{words[1]}", words[1])
    if words[0].startswith("semppl-"):
        return programs().get(words[0], words[0])
    return None


def module_file(module: str) -> pathlib.Path:
    return ROOT / (module.removeprefix("semppl.").replace(".", "/") + ".py")


def imported_files(module: str) -> set[pathlib.Path]:
    """Lists the files of ours that a module imports, at any distance, and its own."""
    found: set[pathlib.Path] = set()
    waiting = [module_file(module)]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semppl"):
                waiting += [
                    module_file(str(node.module)),
                    *(module_file(f"{node.module}.{a.name}") for a in node.names),
                ]
    return found


@functools.cache
def defined_flags(path: pathlib.Path) -> dict[str, bool]:
    """Maps the flags that a file defines to whether they are switches."""
    found = {name: kind.startswith("bool") for kind, name in DEFINITION.findall(path.read_text(encoding="utf-8"))}
    if path == ROOT / "programs" / "hyperparameter_flags.py":
        found |= {field.name: isinstance(field.default, bool) for field in dataclasses.fields(Hyperparameters)}
    if path == ROOT / "programs" / "data_flags.py":
        found |= dict.fromkeys(data_flags.NAMES, False)
    if path == ROOT / "programs" / "place_flags.py":
        found |= dict.fromkeys(place_flags.NAMES, False)
    if path == ROOT / "export" / "import_checkpoint.py":
        found |= dict.fromkeys(import_checkpoint.SETTINGS, False)
    return found


@functools.cache
def flags_of(module: str) -> dict[str, bool]:
    """Maps the flags that a program takes to whether they are switches."""
    return OF_ABSL | {name: switch for path in imported_files(module) for name, switch in defined_flags(path).items()}


@functools.cache
def flags_of_all() -> dict[str, bool]:
    modules = [*programs().values(), *(f"semppl.benchmarks.{path.stem}" for path in (ROOT / "benchmarks").glob("*.py"))]
    modules += [f"semppl.experiments.{path.stem}" for path in (ROOT / "experiments").glob("*.py")]
    return {name: switch for module in modules for name, switch in flags_of(module).items()}


def unknown_flags(words: list[str], known: dict[str, bool]) -> Iterator[str]:
    """Yields the flags in a command that are not known; `--noname` only turns switches off."""
    for word in words:
        match = FLAG.match(word)
        if match and match[1] not in known and not (match[1].startswith("no") and known.get(match[1][2:])):
            yield word


def problems_of_command(words: list[str]) -> Iterator[str]:
    """Yields what does not exist of a command of ours: its module, a flag, a flag file."""
    module = program_of(words)
    if module is None:
        return
    if not module_file(module).is_file():
        yield f"no program {module}"
        return
    if "--engine=beam" not in words:  # which passes flags on to Beam
        yield from (f"{module} has no flag {flag}" for flag in unknown_flags(words, flags_of(module)))
    for word in words:
        if word.startswith("--flagfile=configs/") and not (ROOT / word.removeprefix("--flagfile=")).is_file():
            yield f"no file for {word}"


def dead_links(name: str, text: str) -> Iterator[str]:
    folder = (ROOT / name).parent
    yield from (link for link in LINK.findall(FENCE.sub("", text)) if not (folder / link).exists())


def long_lines(text: str) -> Iterator[str]:
    """Yields lines that are too long, but for rows of tables and links that nothing can break."""
    for line in text.splitlines():
        if len(line) > MAX_COLUMNS and not line.startswith("|") and max(map(len, line.split())) < MAX_COLUMNS - 10:
            yield line


def wrong_imports(text: str) -> Iterator[str]:
    """Yields imports of ours in Python blocks whose module, or whose name there, does not exist."""
    for body in (body for language, body in FENCE.findall(text) if language == "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semppl"):
                for name in (alias.name for alias in node.names):
                    module = importlib.import_module(str(node.module))
                    if not hasattr(module, name) and not module_file(f"{node.module}.{name}").is_file():
                        yield f"{node.module}.{name}"


def missing_code(text: str) -> Iterator[str]:
    """Yields modules and files in backticks that do not exist."""
    for code in CODE.findall(FENCE.sub("", text)):
        for module in MODULE.findall(code) if code.startswith("semppl.") else ():
            parts = module.split(".")
            if not any(module_file(".".join(parts[:depth])).is_file() for depth in range(2, len(parts) + 1)):
                yield code
        if PATH.match(code) and "…" not in code and "<" not in code:
            found = ROOT / code.partition("::")[0]
            named = found.parent / found.name.partition(".")[0]  # `folder/module.NAME`
            if not (found.exists() or named.with_suffix(".py").exists() or named.is_dir()):
                yield code


class DocumentsTest(parameterized.TestCase):
    def test_the_front_page_is_short(self):
        self.assertLess(len(read(FRONT_PAGE).split()), MAX_WORDS)
        self.assertEmpty([line for line in read(FRONT_PAGE).splitlines() if len(line) > MAX_COLUMNS])

    def test_the_picture_of_the_front_page_is_small(self):
        (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", read(FRONT_PAGE))
        self.assertLess((ROOT / picture).stat().st_size, MAX_PICTURE_BYTES)

    @parameterized.parameters(documents())
    def test_lines_are_short(self, name):
        self.assertEmpty(list(long_lines(read(name))))

    @parameterized.parameters(documents())
    def test_links_lead_to_files(self, name):
        self.assertEmpty(list(dead_links(name, read(name))))

    @parameterized.parameters(documents())
    def test_commands_name_programs_and_flags_that_exist(self, name):
        self.assertEmpty([p for words in commands(read(name)) for p in problems_of_command(words)])

    @parameterized.parameters(documents())
    def test_modules_and_files_in_backticks_exist(self, name):
        self.assertEmpty(list(missing_code(read(name))))

    @parameterized.parameters(documents())
    def test_python_blocks_import_what_exists(self, name):
        self.assertEmpty(list(wrong_imports(read(name))))

    @parameterized.parameters(documents())
    def test_flags_in_backticks_exist(self, name):
        lone = [words for words in commands(FENCE.sub("", read(name))) if words[0].startswith("--")]
        self.assertEmpty([flag for words in lone for flag in unknown_flags(words, flags_of_all())])

    def test_documents_that_code_refers_to_exist(self):
        sources = [
            path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".flags")
        ]
        referred = {
            f"{path.relative_to(ROOT)}: {name}": name
            for path in sources
            for name in re.findall(r"\bdocs/[\w/]+\.md\b", path.read_text(encoding="utf-8"))
        }
        self.assertEmpty([where for where, name in referred.items() if not (ROOT / name).is_file()])

    @parameterized.parameters("docs/reference/method.md", "docs/reference/architecture.md")
    def test_names_of_the_method_exist_in_the_code(self, name):
        files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
        words = {
            word for path in files for word in re.findall(r"\w+", f"{path.stem} {path.read_text(encoding='utf-8')}")
        }
        codes = [code for code in CODE.findall(FENCE.sub("", read(name))) if re.fullmatch(r"\.?\w+(\.\w+)*", code)]
        self.assertEmpty([code for code in codes if not set(re.findall(r"\w+", code)) <= words])

    def test_the_table_of_imports_stands_once(self):
        with_table = [name for name in documents() if re.search(r"^\| folder \| may import \|", read(name), re.M)]
        self.assertEqual(with_table, ["CONTRIBUTING.md"])


class RulesCanBeBrokenTest(absltest.TestCase):
    def test_a_command_with_a_wrong_program_flag_or_file_is_found(self):
        text = """```sh
semppl-nothing --workdir=a
python -m semppl.trainers.nothing --workdir=a
python -m semppl.evaluation.evaluate \\
  --no_such_flag=1
semppl-pretrain --flagfile=configs/nothing.flags
semppl-pretrain --flagfile=configs/digits.flags --nofine_tunable && ls --wrong
```"""
        problems = [problem for words in commands(text) for problem in problems_of_command(words)]
        self.assertLen(problems, 5, problems)

    def test_a_wrong_import_is_found(self):
        text = "```python\nfrom semppl.losses import nothing\nfrom semppl.layers import heads\n```"
        self.assertEqual(list(wrong_imports(text)), ["semppl.losses.nothing"])

    def test_a_dead_link_is_found(self):
        text = "[a](README.md#x) [b](docs/nothing.md) [c](https://example.com/x.md) ```[d](e.md)```"
        self.assertEqual(list(dead_links("README.md", text))[:1], ["docs/nothing.md"])

    def test_a_long_line_is_found(self):
        text = "a " * 51 + "\n| " + "a " * 60 + "\n[a](https://" + "a" * 120 + ")\n"
        self.assertLen(list(long_lines(text)), 1)

    def test_code_that_does_not_exist_is_found(self):
        text = "`semppl.trainers.nothing` `semppl.trainers.pretrain` `layers/nothing.py` `layers/heads.py`"
        self.assertLen(list(missing_code(text)), 2)


if __name__ == "__main__":
    absltest.main()
