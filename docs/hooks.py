"""MkDocs hooks: pages from files outside docs/, links that work in the repository and in the site, flags."""

import importlib
import pathlib
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from absl import flags
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)(?=[)#])")
FLAGS_MARKER = "<!-- flags -->"
SETTINGS = "semppl.programs.hyperparameter_flags"
DEFINED_WHEN_RUN = ("BATCH_SIZE", "LABELS_PER_CLASS")  # flags whose names another program uses otherwise
NOT_A_MEANING = re.compile(r"^\[.*?\] |^<.*?>: |;\s*repeat this option to specify a list of values$")
QUOTE = "'"
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "sh"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for README.md and for every file outside docs/ that a page links to."""
    pages = ["README.md", *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    for path in _reachable([*pages, "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md"]):
        if site_path(path) not in files.src_uris:
            files.append(File.generated(config, site_path(path), content=_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points relative links at the site's pages, and fills the reference of flags."""
    del config, files
    here = page.file.src_uri
    folder = posixpath.dirname(repository_path(here))

    def rewritten(match: re.Match[str]) -> str:
        target = site_path(posixpath.normpath(posixpath.join(folder, match[1])))
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    return LINK.sub(rewritten, markdown).replace(FLAGS_MARKER, flags_reference() if FLAGS_MARKER in markdown else "")


def site_path(path: str) -> str:
    """Maps the path of a file in the repository to the path of its page or file in the site's sources."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def repository_path(page: str) -> str:
    """Maps the path of a page in the site's sources to the file in the repository that its text comes from."""
    if page == "index.md":
        return "README.md"
    return page.removeprefix("repository/") if page.startswith("repository/") else f"docs/{page}"


def _reachable(pages: Iterable[str]) -> list[str]:
    """Lists these files, and what they link to, at any distance, as far as the files exist."""
    found: dict[str, None] = {}
    waiting = list(pages)
    while waiting:
        path = waiting.pop()
        if path in found or not (ROOT / path).is_file():
            continue
        found[path] = None
        if path.endswith(".md"):
            links = LINK.findall((ROOT / path).read_text(encoding="utf-8"))
            waiting += [posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link in links]
    return [path for path in found if not path.startswith("docs/")]


def _page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(pathlib.PurePath(path).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{language}\n{text}````\n"


def flags_reference() -> str:
    """Lays out the flags of every console script, and the settings of a run by group, as Markdown."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    modules = {script: entry.partition(":")[0] for script, entry in scripts.items() if script != "semppl"}
    for module in modules.values():
        importlib.import_module(module)
    settings = flags.FLAGS.get_key_flags_for_module(SETTINGS)
    return "\n".join([*_settings(settings), *_programs(modules, {flag.name for flag in settings})])


def _settings(settings: Iterable[Any]) -> Iterator[str]:
    yield "## Settings of a run\n"
    groups: dict[str, list[Any]] = {}
    for flag in settings:
        groups.setdefault(re.match(r"\[(.*?)\] ", flag.help)[1], []).append(flag)  # type: ignore[index]
    for group, members in groups.items():
        yield f"### {group[0].upper()}{group[1:]}\n"
        yield from _table(members)


def _programs(modules: dict[str, str], settings: set[str]) -> Iterator[str]:
    for script, module in modules.items():
        yield f"## {script}\n\n`python -m {module}`\n"
        key_flags = flags.FLAGS.get_key_flags_for_module(module)
        if settings & {flag.name for flag in key_flags} == settings:
            yield "Takes the [settings of a run](#settings-of-a-run), and:\n"
            key_flags = [flag for flag in key_flags if flag.name not in settings]
        for name in DEFINED_WHEN_RUN:
            if flag := getattr(importlib.import_module(module), name, None):
                flag.define(defined := flags.FlagValues())
                key_flags = [*key_flags, *map(defined.__getitem__, defined)]
        yield from _table(key_flags)
        if hasattr(importlib.import_module(module), "SETTINGS"):  # flags that are defined when the program runs
            names = ", ".join(f"`--{name}`" for name in importlib.import_module(module).SETTINGS)
            yield f"Also takes, of the [settings of a run](#settings-of-a-run): {names}.\n"


def _table(members: Iterable[Any]) -> Iterator[str]:
    yield "| flag | default | meaning |\n|---|---|---|"
    for flag in members:
        default = "" if flag.default in (None, "", []) else f"`{flag.default_as_str.strip(QUOTE)}`"
        values = getattr(flag.parser, "enum_values", ())
        meaning = NOT_A_MEANING.sub("", " ".join(flag.help.split())).replace("|", "\\|")
        allowed = f" One of {', '.join(f'`{value}`' for value in values)}." if values else ""
        yield f"| `--{flag.name}` | {default} | {meaning}{allowed} |"
    yield ""
