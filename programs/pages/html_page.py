"""Pieces that all self-contained pages of HTML share: the frame, text and tables."""

import unicodedata
from collections.abc import Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --quiet: #666; --bar: #4a7fc1; --right: #187a33; --wrong: #b00; }
@media (prefers-color-scheme: dark) {
  :root { --quiet: #aaa; --bar: #6fa3e0; --right: #5fd07e; --wrong: #ff7b7b; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .2em .8em; text-align: left; vertical-align: bottom; border-bottom: 1px solid var(--line); }
.n { text-align: right; }
code { background: var(--soft); padding: .1em .3em; overflow-wrap: anywhere; }
"""


def document(title: str, body: str, *, style: str = "") -> str:
    """Returns a page as HTML.

    Args:
        title: Title and heading, plain text.
        body: HTML below the heading.
        style: CSS beside the shared rules.
    """
    shown = as_text(title)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{shown}</title><style>{_STYLE}{style}</style>\n<h1>{shown}</h1>\n{body}\n</html>\n"
    )


def encodable(text: str) -> str:
    """Returns text that UTF-8 can hold: bytes that are not Unicode as escape sequences."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(value: Any) -> str:
    """Returns text that every page can hold: bytes that are not Unicode as escape sequences, control characters as �."""
    return "".join("�" if unicodedata.category(character) == "Cc" else character for character in encodable(str(value)))


def as_text(value: Any) -> str:
    """Returns a value as HTML text, which may also stand in a quoted attribute."""
    return escape(printable(value))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Formats rows as a table; columns of numbers are aligned to the right.

    Args:
        header: Names of the columns; none for a table without a header.
        rows: Cells; text, or numbers as they are to be shown.
    """
    kinds = [*rows[0], *header[len(rows[0]) :]] if rows else header
    head = f"<tr>{_cells('th', header, kinds)}</tr>" if header else ""
    body = "".join(f"<tr>{_cells('td', row, row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"


def _cells(tag: str, cells: Sequence[Any], kinds: Sequence[Any]) -> str:
    sides = [' class="n"' if isinstance(kind, int | float) else "" for kind in kinds]
    return "".join(f"<{tag}{side}>{as_text(cell)}</{tag}>" for cell, side in zip(cells, sides, strict=False))
