"""Holds the sources to the rules of CONTRIBUTING.md: who imports whom, and what stands only in one place.

Every rule is a function from one source file to the problems it finds there. It is run on every file of the project,
and on small bad examples: a rule that nothing can break would be worth nothing.
"""

import ast
import collections
import dataclasses
import itertools
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = (
    "benchmarks",
    "configs",
    "data",
    "doctor",
    "evaluation",
    "experiments",
    "export",
    "layers",
    "losses",
    "programs",
    "runs",
    "tests",
    "trainers",
)
MAY_IMPORT = {  # a folder, or a room of one; never a single file
    "configs": set(),
    "losses": set(),
    "programs": {"configs", "runs"},
    "layers": {"losses"},
    "runs": {"configs", "layers"},
    "data": {"configs", "runs"},
    "doctor": {"configs", "data", "programs", "runs"},
    "evaluation": {"configs", "data", "layers", "programs", "runs"},
    "trainers": {"configs", "data", "evaluation", "layers", "losses", "programs", "runs"},
    "export": {"configs", "layers", "programs", "runs"},
    "export.collections": {"configs", "data", "export", "layers", "runs"},  # reads pictures as training does
    "export.memory": {
        "configs",
        "data",
        "evaluation",
        "export",
        "layers",
        "runs",
    },  # remembers the run's labelled images
    "experiments": set(FOLDERS) - {"benchmarks", "tests"},
    "benchmarks": set(FOLDERS) - {"tests"},
    "tests": set(FOLDERS),
    "semppl": set(FOLDERS) - {"benchmarks", "experiments", "tests"},  # the door: lazily, see the_door_imports_lazily
}
MAY_IMPORT_PROGRAMS = {"benchmarks", "experiments", "semppl", "tests"}
DOOR = ("doctor", "evaluate", "export", "load", "pretrain")
MAX_MODULES = 12
MAX_LINES_OF_A_BODY = 50
COLLECTIVES = "layers/collectives.py"
SHARED_FLAGS = "programs"  # the folder of what several entry points define, once
MAX_ADDONS_FILES = 4
MACHINE = re.compile(
    r"(?<![\w.~$}/-])/(home|root|work|Users)/"
    r"|(pypi|npmjs|debian)\.org|python(?:hosted)|registry\.npm"
    r"|--(extra-)?index-url|--find-(?:links)"
)
COUNTED = re.compile(
    r" (?:[a-z]+ )?(?:picture|image|class|label|file|row|record|pair|duplicate)(?:e?s|\(s\))\b|.*\(s\)"
)
NO_SOURCES = {"__pycache__", "build", "dist", "outputs"}


@dataclasses.dataclass(frozen=True)
class Source:
    """A file: its path below the root, and its text."""

    path: str
    text: str

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").replace("/", ".")

    def nodes(self) -> Iterator[ast.AST]:
        return ast.walk(ast.parse(self.text))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yields the line and the full dotted name of everything imported, wherever the import stands."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
                yield from ((node.lineno, str(a.value)) for a in node.args if isinstance(a, ast.Constant))

    def flags(self) -> Iterator[str]:
        """Yields the names of the flags that are defined."""
        for node in self.nodes():
            defines = isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("DEFINE_")
            if defines and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def imports_go_one_way(source: Source) -> Iterator[str]:
    rooms = [".".join(source.module.split(".")[:depth]) for depth in (2, 1)]
    allowed = next(MAY_IMPORT[room] for room in rooms if room in MAY_IMPORT) | {source.folder}
    for line, name in source.imports():
        target = name.removeprefix("semppl.").split(".")[0]
        if name.startswith("semppl.") and target in FOLDERS and target not in allowed:
            yield f"{line}: {source.module} must not import {name}; it may import {sorted(allowed)}"


def programs_are_started_not_imported(source: Source) -> Iterator[str]:
    """What two programs share, or a program and a room, belongs in a room."""
    if source.folder in MAY_IMPORT_PROGRAMS:
        return
    for line, name in source.imports():
        path = "/".join(name.removeprefix("semppl.").split(".")[:2]) + ".py"
        if name.startswith("semppl.") and path != source.path and is_program(path):
            yield f"{line}: {source.module} must not import the program {name}"


def is_program(path: str) -> bool:
    file = ROOT / path
    return path.count("/") == 1 and file.is_file() and "\ndef main(" in file.read_text(encoding="utf-8")


def the_door_imports_lazily(source: Source) -> Iterator[str]:
    """`import semppl` takes the standard library alone, so that it is quick and every target of Bazel has it."""
    if source.folder != "semppl":
        return
    tree = ast.parse(source.text)
    lazy = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) or _is_type_checking(node)]
    inside = {id(child) for node in lazy for child in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
            for name in names:
                if (
                    name.split(".")[0] not in sys.stdlib_module_names and name != "semppl"
                ):  # `keras_two`, beside the door
                    yield f"{node.lineno}: import {name} in the function that needs it"


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def the_door_opens_outwards(source: Source) -> Iterator[str]:
    """Code imports what it needs by its name; through the door it would reach the floors above."""
    if source.folder in ("semppl", "tests"):
        return
    for line, name in source.imports():
        if name in {f"semppl.{function}" for function in DOOR}:
            yield f"{line}: only users and tests import {name}"
    for node in source.nodes():
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"semppl.{function}" for function in DOOR}:
            yield f"{node.lineno}: only users and tests call {ast.unparse(node.func)}"


def imports_name_semppl(source: Source) -> Iterator[str]:
    for line, name in source.imports():
        if name.startswith(".") or name.split(".")[0] in FOLDERS:
            yield f"{line}: write `from semppl.<folder> import …`, not {name}"


def addons_imports_say_what_replaces_them(source: Source) -> Iterator[str]:
    lines = ["", *source.text.splitlines()]
    for line, name in source.imports():
        if (
            name.startswith("tensorflow_addons")
            and "#" not in lines[line]
            and not lines[line - 1].strip().startswith("#")
        ):
            yield f"{line}: no comment says what would replace tensorflow_addons"


def collectives_stand_in_one_module(source: Source) -> Iterator[str]:
    if source.folder == "tests" or source.path == COLLECTIVES:
        return
    for node in source.nodes():
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if "replica_context" in name or name in {"all_gather", "all_reduce", "merge_call"}:
            yield f"{node.lineno}: {name} belongs in {COLLECTIVES}"


def flags_stop_at_entry_points(source: Source) -> Iterator[str]:
    nodes = list(source.nodes())
    if source.folder in ("tests", SHARED_FLAGS):
        return
    if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in nodes):
        return
    for node in nodes:
        if isinstance(node, ast.Attribute) and (node.attr.startswith("DEFINE_") or node.attr == "FLAGS"):
            yield f"{node.lineno}: only a module with a `main` defines or reads flags; found {node.attr}"
    for line, name in source.imports():
        if "_flag" in name and name.startswith("semppl.programs."):
            yield f"{line}: only a module with a `main` reads flags; found {name}"


def programs_parse_flags_first(source: Source) -> Iterator[str]:
    """A program refuses a wrong flag before it imports TensorFlow, which takes seconds; its main is quiet."""
    nodes = list(source.nodes())
    if source.folder in ("tests", "benchmarks"):
        return
    if not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in nodes):
        return
    parses = [n.lineno for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "quiet.parse_flags"]
    loud = [line for line, name in source.imports() if name.split(".")[0] == "tensorflow"]
    if not parses or min([*loud, parses[0]]) < parses[0] or "@quiet.program\ndef main(" not in source.text:
        yield "0: a program calls quiet.parse_flags before it imports TensorFlow, and decorates its main with quiet.program"


def text_files_name_their_encoding(source: Source) -> Iterator[str]:
    """Without a name, Python takes the encoding of the locale, and another process reads something else."""
    if source.folder == "tests":
        return
    for node in source.nodes():
        if isinstance(node, ast.Call) and _opens_text(node) and not any(k.arg == "encoding" for k in node.keywords):
            yield f"{node.lineno}: {ast.unparse(node)} without encoding="


def _opens_text(call: ast.Call) -> bool:
    """Returns whether a call is `open`, or a method of a path, that reads or writes text."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr in ("read_text", "write_text"):
        return True
    if ast.unparse(function).rpartition(".")[2] != "open" or ast.unparse(function) in ("os.open", "Image.open"):
        return False
    mode = call.args[int(isinstance(function, ast.Name)) :][:1]
    return not mode or (isinstance(mode[0], ast.Constant) and re.fullmatch("[rwax+t]+", str(mode[0].value)) is not None)


def nouns_agree_with_their_numbers(source: Source) -> Iterator[str]:
    """A plural after a number that is computed is wrong where the number is 1: `configs.wording.counted` writes both."""
    if source.folder in ("benchmarks", "layers", "tests"):
        return
    for node in source.nodes():
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for value, text in itertools.pairwise(parts):
            if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                continue
            number = ast.unparse(value.value)
            if re.search(r"\b(len|sum|count)\b", number) and COUNTED.match(str(text.value)):
                yield f"{node.lineno}: write counted(…) for {number} and its noun"


def errors_are_raised_not_asserted(source: Source) -> Iterator[str]:
    if source.folder != "tests":
        yield from (f"{node.lineno}: `assert` outside tests" for node in source.nodes() if isinstance(node, ast.Assert))


def tensors_are_made_in_functions(source: Source) -> Iterator[str]:
    """A tensor that an import makes starts TensorFlow, whose devices cannot be split afterwards."""
    nodes: list[ast.AST] = list(ast.parse(source.text).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Call) and re.match(_MAKES_A_TENSOR, ast.unparse(node.func)):
            yield f"{node.lineno}: {ast.unparse(node.func)} makes a tensor when the module is imported"
        if isinstance(node, ast.FunctionDef):
            nodes += [*node.decorator_list, *node.args.defaults]
        elif not isinstance(node, ast.Lambda):
            nodes += ast.iter_child_nodes(node)


_MAKES_A_TENSOR = (
    r"tf\.(random\.\w+|cast|constant|convert_to_tensor|eye|fill|linspace|ones|range|reshape|stack|Variable|zeros)$"
)


def flags_of_tests_are_parsed(source: Source) -> Iterator[str]:
    """Temporary folders of absl want parsed flags; with pytest alone some other test has parsed them, or not."""
    if source.path.endswith("_test.py") and re.search(r"self\.create_temp|flagsaver\.", source.text):
        names = {name for _, name in source.imports()}
        if not any(name.startswith("semppl.tests.testing") for name in names):
            yield "0: a test with temporary folders or flags imports semppl.tests.testing"


def files_are_named_after_their_idea(source: Source) -> Iterator[str]:
    if re.fullmatch(r"(utils?|helpers?)\.py", source.path.split("/")[-1]):
        yield "0: name a file after its one idea"


def bodies_are_short(source: Source) -> Iterator[str]:
    """The docstring is no part of a body; comments and blank lines are."""
    if source.folder == "tests":
        return
    for node in source.nodes():
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[ast.get_docstring(node) is not None :]
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > MAX_LINES_OF_A_BODY:
            yield f"{node.lineno}: the body of {node.name} has {lines} lines, more than {MAX_LINES_OF_A_BODY}"


def crowded_folders(paths: Iterable[str]) -> Iterator[str]:
    """Yields every folder with more modules than one look takes in; what would be more gets rooms."""
    modules = (path.rpartition("/")[0] for path in paths if path.endswith(".py") and not path.endswith("__init__.py"))
    for folder, count in sorted(collections.Counter(modules).items()):
        if count > MAX_MODULES:
            yield f"{folder}: {count} modules, more than {MAX_MODULES}"


def no_machine_is_named(source: Source) -> Iterator[str]:
    for line, text in enumerate(source.text.splitlines(), start=1):
        for match in MACHINE.finditer(text.replace("--no-emit-", "")):
            yield f"{line}: a path or host of one machine: {match.group()}"


def link_problems(root: pathlib.Path) -> Iterator[str]:
    """Yields what is wrong with semppl/: a relative link for every root folder that holds code, and nothing else."""
    code = {path.parent.name for path in root.glob("*/__init__.py")} - {"semppl"}
    links = {path.name for path in (root / "semppl").iterdir()} - {"__init__.py", "keras_two.py", "__pycache__"}
    yield from (f"semppl/{name}: missing link" for name in sorted(code - links))
    for name in sorted(links):
        link = root / "semppl" / name
        if not link.is_symlink() or os.readlink(link) != f"../{name}" or not link.is_dir():
            yield f"semppl/{name}: must be a link to ../{name}"


def missing_init_files(root: pathlib.Path) -> Iterator[str]:
    """Yields every folder with code, at any depth, that Python would not take for a package."""
    for folder in sorted({path.parent for name in FOLDERS for path in (root / name).rglob("*.py")}):
        if not (folder / "__init__.py").exists():
            yield f"{folder.relative_to(root)}: no __init__.py"


def python_sources() -> Iterator[Source]:
    yield from (source for source in text_files() if source.path.endswith(".py") and source.folder in MAY_IMPORT)


def text_files() -> Iterator[Source]:
    """Yields the project's own text files: not what runs and builds leave behind, and links are not followed."""
    for folder, children, names in os.walk(ROOT):
        children[:] = [
            name
            for name in children
            if (name == ".ci" or not name.startswith("."))
            and name not in NO_SOURCES
            and not name.endswith(".egg-info")
            and not pathlib.Path(folder, name, "pyvenv.cfg").exists()
        ]
        for name in names:
            path = pathlib.Path(folder, name)
            if not path.is_file() or name == ".git":  # a file where the checkout is a worktree
                continue
            try:
                yield Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
            except UnicodeDecodeError:
                continue


RULES_FOR_CODE: tuple[Callable[[Source], Iterator[str]], ...] = (
    imports_go_one_way,
    programs_are_started_not_imported,
    the_door_imports_lazily,
    the_door_opens_outwards,
    imports_name_semppl,
    addons_imports_say_what_replaces_them,
    collectives_stand_in_one_module,
    flags_stop_at_entry_points,
    programs_parse_flags_first,
    text_files_name_their_encoding,
    nouns_agree_with_their_numbers,
    errors_are_raised_not_asserted,
    flags_of_tests_are_parsed,
    tensors_are_made_in_functions,
    files_are_named_after_their_idea,
    bodies_are_short,
)


class ArchitectureTest(parameterized.TestCase):
    @parameterized.named_parameters((rule.__name__, rule) for rule in RULES_FOR_CODE)
    def test_every_source_keeps_the_rule(self, rule):
        self.assertEmpty([f"{source.path}:{problem}" for source in python_sources() for problem in rule(source)])

    def test_no_folder_is_crowded(self):
        self.assertEmpty(list(crowded_folders(source.path for source in python_sources())))

    def test_no_text_file_names_a_machine(self):
        self.assertEmpty(
            [f"{source.path}:{problem}" for source in text_files() for problem in no_machine_is_named(source)]
        )

    def test_few_files_import_addons(self):
        users = {
            s.path for s in python_sources() if any(name.startswith("tensorflow_addons") for _, name in s.imports())
        }
        self.assertLessEqual(len({path for path in users if not path.startswith("tests/")}), MAX_ADDONS_FILES, users)

    def test_a_flag_is_defined_once(self):
        defined = [name for source in python_sources() for name in source.flags()]
        self.assertEqual(len(defined), len(set(defined)), sorted({name for name in defined if defined.count(name) > 1}))

    def test_contributing_states_the_imports_that_are_enforced(self):
        stated = {}
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        for rooms, allowed in re.findall(r"^\| (`.*) \| (.*) \|$", text, re.MULTILINE):
            named = set(re.findall(r"`(.+?)`", allowed))
            folders = set(FOLDERS) - named if allowed.startswith("everything") else named
            stated |= {room.replace("/", "."): folders - {room.split("/")[0]} for room in re.findall(r"`(.+?)`", rooms)}
        enforced = {room: allowed - {room.split(".")[0]} for room, allowed in MAY_IMPORT.items()}
        self.assertEqual(stated, enforced)

    def test_links_give_every_folder_its_import_name(self):
        self.assertEmpty(list(link_problems(ROOT)))

    def test_every_folder_is_a_package(self):
        self.assertEmpty(list(missing_init_files(ROOT)))

    def test_every_folder_is_read(self):
        self.assertCountEqual({source.folder for source in python_sources()}, [*FOLDERS, "semppl"])


_HUSHED = "@quiet.program\ndef main(argv):\n    pass"


def _function(lines: int) -> str:
    """Writes a function with a docstring and a body of so many lines."""
    return "\n    ".join(["def f():", '"""Does."""', *["x = 1"] * lines])


class RulesCanBeBrokenTest(parameterized.TestCase):
    @parameterized.parameters(
        (imports_go_one_way, "losses/a.py", "from semppl.layers import queue"),
        (imports_go_one_way, "losses/a.py", "from semppl import layers"),
        (imports_go_one_way, "losses/a.py", "import semppl.layers.queue"),
        (imports_go_one_way, "configs/a.py", "def f():\n    from semppl.losses import info_nce"),
        (imports_go_one_way, "layers/a.py", "if TYPE_CHECKING:\n    from semppl.data import views"),
        (imports_go_one_way, "layers/a.py", "importlib.import_module('semppl.data.views.recipes')"),
        (imports_go_one_way, "data/deep/a.py", "from semppl.layers import queue"),
        (imports_go_one_way, "evaluation/evaluate.py", "from semppl.trainers import semppl"),
        (imports_go_one_way, "doctor/a.py", "from semppl.trainers import pretrain"),
        (imports_go_one_way, "trainers/a.py", "from semppl.export import servable"),
        (imports_go_one_way, "runs/checkpoints.py", "from semppl.data import views"),
        (imports_go_one_way, "runs/checkpoints.py", "from semppl.trainers import optimizers"),
        (imports_go_one_way, "export/a.py", "from semppl.trainers import semppl"),
        (imports_go_one_way, "export/model/a.py", "from semppl.data import views"),
        (imports_go_one_way, "export/memory.py", "from semppl.trainers import semppl"),
        (imports_go_one_way, "export/a.py", "from semppl.tests import testing"),
        (programs_are_started_not_imported, "export/model/a.py", "from semppl.export import search"),
        (programs_are_started_not_imported, "export/collections/a.py", "from semppl.export.index import build_index"),
        (programs_are_started_not_imported, "export/search.py", "from semppl.export.index import build_index"),
        (imports_go_one_way, "semppl/__init__.py", "def f():\n    from semppl.experiments import quickstart"),
        (the_door_imports_lazily, "semppl/__init__.py", "import numpy as np"),
        (the_door_imports_lazily, "semppl/__init__.py", "from semppl.export import model"),
        (the_door_imports_lazily, "semppl/__init__.py", "class A:\n    import tensorflow as tf"),
        (the_door_opens_outwards, "layers/a.py", "from semppl import pretrain"),
        (the_door_opens_outwards, "trainers/a.py", "import semppl\nsemppl.export('run', 'served/1')"),
        (imports_name_semppl, "tests/a_test.py", "from losses import info_nce"),
        (imports_name_semppl, "layers/a.py", "import losses.info_nce"),
        (imports_name_semppl, "layers/a.py", "from . import queue"),
        (imports_name_semppl, "layers/a.py", "from ..losses import info_nce"),
        (addons_imports_say_what_replaces_them, "data/a.py", "import tensorflow_addons as tfa"),
        (addons_imports_say_what_replaces_them, "data/a.py", "# why\n\nfrom tensorflow_addons import image"),
        (collectives_stand_in_one_module, "trainers/a.py", "tf.distribute.get_replica_context()"),
        (collectives_stand_in_one_module, "layers/a.py", "context.all_gather(x, axis=0)"),
        (collectives_stand_in_one_module, "layers/a.py", "context.all_reduce('SUM', x)"),
        (flags_stop_at_entry_points, "trainers/a.py", "SEED = flags.DEFINE_integer('seed', 0, '')"),
        (flags_stop_at_entry_points, "trainers/a.py", "def f():\n    return flags.FLAGS.seed"),
        (flags_stop_at_entry_points, "trainers/a.py", "from semppl.programs import run_flags"),
        (flags_stop_at_entry_points, "data/a.py", "from semppl.programs import hyperparameter_flags"),
        (text_files_name_their_encoding, "runs/a.py", "path.read_text()"),
        (text_files_name_their_encoding, "runs/a.py", "path.write_text('x' + y)"),
        (text_files_name_their_encoding, "runs/a.py", "path.open()"),
        (text_files_name_their_encoding, "runs/a.py", "path.open('w', newline='')"),
        (text_files_name_their_encoding, "runs/a.py", "open(path, 'a')"),
        (programs_parse_flags_first, "export/a.py", "import tensorflow\n" + _HUSHED),
        (programs_parse_flags_first, "export/a.py", "import tensorflow\nquiet.parse_flags(__name__)\n" + _HUSHED),
        (programs_parse_flags_first, "export/a.py", "quiet.parse_flags(__name__)\ndef main(argv):\n    pass"),
        (tensors_are_made_in_functions, "tests/a_test.py", "_OWN = tf.eye(8) > 0"),
        (
            tensors_are_made_in_functions,
            "tests/a_test.py",
            "class A:\n    @parameters(tf.random.normal([2]))\n    def f(self): pass",
        ),
        (flags_of_tests_are_parsed, "tests/a_test.py", "from semppl.tests import tiny\nself." + "create_tempdir()"),
        (nouns_agree_with_their_numbers, "data/a.py", "print(f'in {len(x)} pictures')"),
        (nouns_agree_with_their_numbers, "data/a.py", "print(f'{count} test images')"),
        (nouns_agree_with_their_numbers, "data/a.py", "print(f'{sum(x)} row(s)')"),
        (errors_are_raised_not_asserted, "benchmarks/a.py", "def f(x):\n    assert x"),
        (files_are_named_after_their_idea, "data/utils.py", ""),
        (files_are_named_after_their_idea, "data/deep/helper.py", ""),
        (bodies_are_short, "export/a.py", _function(51)),
        (bodies_are_short, "export/a.py", "class A:\n    async " + _function(51).replace("\n", "\n    ")),
        (no_machine_is_named, "docs/a.md", "cd " + "/".join(["", "home", "me", "semppl"])),
        (no_machine_is_named, "docs/a.md", "see " + "/".join(["", "work", "runs"])),
        (no_machine_is_named, "requirements.lock", "https://files.python" + "hosted.org/packages"),
        (no_machine_is_named, "requirements.lock", "-".join(["", "", "find", "links wheels"])),
    )
    def test_a_bad_example_is_found(self, rule, path, text):
        self.assertLen(list(rule(Source(path, text))), 1)

    @parameterized.parameters(
        (imports_go_one_way, "export/a.py", "from semppl.runs import checkpoints"),
        (imports_go_one_way, "export/a.py", "from semppl.runs.checkpoints import restore"),
        (imports_go_one_way, "evaluation/evaluate.py", "from semppl.runs import checkpoints"),
        (imports_go_one_way, "export/memory/run_images.py", "from semppl.data.sources import load_source"),
        (imports_go_one_way, "export/collections/collection.py", "from semppl.data.files.folder import list_folder"),
        (imports_go_one_way, "layers/a.py", "import semppl\nimport tensorflow as tf\nfrom semppl.layers import queue"),
        (imports_go_one_way, "tests/export/a_test.py", "from semppl.trainers import semppl"),
        (programs_are_started_not_imported, "export/search.py", "from semppl.export.collections import index_folder"),
        (programs_are_started_not_imported, "export/model/a.py", "from semppl.export.memory import evidence"),
        (programs_are_started_not_imported, "benchmarks/a.py", "from semppl.export.client import connect"),
        (imports_name_semppl, "layers/a.py", "from semppl.losses import info_nce\nimport dataclasses"),
        (addons_imports_say_what_replaces_them, "data/a.py", "# tf.image lacks shear\nimport tensorflow_addons as tfa"),
        (addons_imports_say_what_replaces_them, "data/a.py", "import tensorflow_addons as tfa  # or Keras 3's own"),
        (collectives_stand_in_one_module, "layers/collectives.py", "tf.distribute.get_replica_context()"),
        (collectives_stand_in_one_module, "layers/a.py", "collectives.all_reduce_sum(x)"),
        (
            flags_stop_at_entry_points,
            "trainers/a.py",
            "F = flags.DEFINE_string('f', '', '')\ndef main(argv):\n    pass",
        ),
        (flags_stop_at_entry_points, "export/a.py", "from semppl.programs import run_flags\ndef main(argv):\n    pass"),
        (flags_stop_at_entry_points, "programs/run_flags.py", "WORKDIR = flags.DEFINE_string('workdir', '', '')"),
        (
            text_files_name_their_encoding,
            "runs/a.py",
            "path.open('w', encoding='utf-8'), path.open('rb'), open(p, 'wb')",
        ),
        (text_files_name_their_encoding, "runs/a.py", "os.open(p, os.O_RDWR), Image.open(p), tests.open(p)"),
        (programs_parse_flags_first, "export/a.py", "quiet.parse_flags(__name__)\nimport tensorflow\n" + _HUSHED),
        (programs_parse_flags_first, "export/a.py", "import tensorflow"),
        (nouns_agree_with_their_numbers, "data/a.py", "counted(len(x), 'picture'), f'{split} images, {len(x)} in all'"),
        (errors_are_raised_not_asserted, "tests/a_test.py", "assert True"),
        (tensors_are_made_in_functions, "tests/a_test.py", "def f():\n    return tf.eye(8)\nG = lambda: tf.zeros(2)"),
        (bodies_are_short, "export/a.py", _function(50)),
        (bodies_are_short, "tests/a_test.py", _function(51)),
        (no_machine_is_named, "docs/a.md", "--workdir=outputs/home/ or ~/work/ or https://example.com/work/"),
        (no_machine_is_named, "Makefile", "uv pip compile --no-emit-index-url --no-emit-find-links"),
    )
    def test_a_good_example_passes(self, rule, path, text):
        self.assertEmpty(list(rule(Source(path, text))))

    def test_a_crowded_folder_is_found(self):
        dozen = ["layers/__init__.py", "layers/deep/a.py", *(f"layers/{number}.py" for number in range(12))]
        self.assertEmpty(list(crowded_folders(dozen)))
        self.assertEqual(list(crowded_folders([*dozen, "layers/b.py"])), ["layers: 13 modules, more than 12"])

    def test_a_wrong_link_is_found(self):
        root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        for folder in ("semppl", "losses", "layers", "data", "configs"):
            (root / folder).mkdir()
            (root / folder / "__init__.py").touch()
        (root / "semppl" / "losses").symlink_to("../losses")
        (root / "semppl" / "layers").symlink_to(root / "layers")
        (root / "semppl" / "data").symlink_to("../losses")
        self.assertEqual(
            [problem.split(":")[0] for problem in link_problems(root)],
            ["semppl/configs", "semppl/data", "semppl/layers"],
        )

    def test_a_missing_init_file_is_found(self):
        root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        for file in ("losses/__init__.py", "losses/a.py", "tests/__init__.py", "tests/losses/a_test.py"):
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).touch()
        self.assertEqual(list(missing_init_files(root)), ["tests/losses: no __init__.py"])


if __name__ == "__main__":
    absltest.main()
