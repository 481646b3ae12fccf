"""The report on a data set as a self-contained HTML page."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from semppl.configs.wording import counted
from semppl.data.images import NO_LABEL, Images
from semppl.data.thumbnails import thumbnail_urls
from semppl.programs.pages.html_page import as_text, document, table

_PER_CLASS = 6
_CLASSES = 60  # with several pictures; each further class has one
_UNLABELLED = 24
_PAIRS = 40

_STYLE = """
.bar { display: inline-block; height: .8em; background: var(--bar); }
figure { display: inline-block; vertical-align: top; width: 128px; margin: 0 .6em .6em 0; }
figcaption { font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; }
img { width: 96px; height: 96px; object-fit: contain; background: var(--soft); }
.stops { color: var(--wrong); font-weight: bold; } .ready { color: var(--right); font-weight: bold; }
.pair { display: inline-block; border: 1px solid var(--line); margin: .3em; padding: .3em; }
"""


def page(report: Mapping[str, Any], parts: Mapping[str, Images], class_names: Sequence[str]) -> str:
    """Returns the page as HTML.

    Args:
        report: Report that `examine.examine` returns.
        parts: Images by part: "labelled", "unlabelled", "validation", "test"; empty if the images could not be loaded.
        class_names: Names of the classes, by label.
    """
    sections = [_verdict(report), _problems(report), _counts(report), _folders(report), _classes(report)]
    if parts:
        sections += [_samples(parts, class_names), _duplicates(report, parts)]
    return document(f"Data: {report['data']}", "\n".join(sections), style=_STYLE)


def _verdict(report: Mapping[str, Any]) -> str:
    """Shows whether the run can start, its time, the suggestions and the command."""
    text = report["verdict"]
    shown = f'<p class="{"ready" if text.startswith("ready") else "stops"}">{escape(text[0].upper() + text[1:])}.</p>'
    suggestions = "".join(
        f"<li><code>--{escape(name)}={escape(suggestion['value'])}</code> {escape(suggestion['reason'])}</li>"
        for name, suggestion in report.get("suggestions", {}).items()
    )
    shown += f"<p>Suggested:</p><ul>{suggestions}</ul>" if suggestions else ""
    return shown + (f"<p><code>{escape(report['command'])}</code></p>" if "command" in report else "")


def _problems(report: Mapping[str, Any]) -> str:
    rows = ""
    for problem in report["problems"]:
        text, at = escape(problem["text"]), problem["at"]
        linked = f'<a href="#{at}">{text}</a>' if at else text
        rows += f'<li class="{"stops" if problem["stops"] else "look"}">{linked}</li>'
    return f"<h2>Findings</h2><ul>{rows or '<li>None.</li>'}</ul>"


def _counts(report: Mapping[str, Any]) -> str:
    parts = {f"{name} images": count for name, count in report.get("parts", {}).items()}
    trial = {name.replace("_", " "): value for name, value in (report.get("trial") or {}).items()}
    return f"<h2>Counts</h2>{table([], [[name, value] for name, value in (parts | trial).items()])}"


def _folders(report: Mapping[str, Any]) -> str:
    names = ("flag", "path", "pictures", "bad", "files_without_row", "other_files", "decoded_by_tensorflow")
    rows = [[*(folder[name] for name in names), *folder["shorter_side"].values()] for folder in report["folders"]]
    header = [*(name.replace("_", " ") for name in names), "shorter side: smallest", "median", "largest"]
    bad = [[path, reason] for folder in report["folders"] for path, reason in folder["bad_files"].items()]
    missing = [[path, "no such file"] for folder in report["folders"] for path in folder["rows_without_file"]]
    listed = f"<h3>Files that are not used</h3>{table([], bad + missing)}" if bad or missing else ""
    return f'<h2 id="folders">Folders</h2>{table(header, rows)}{listed}' if rows else ""


def _classes(report: Mapping[str, Any]) -> str:
    """Shows how many images of each class have a label, as numbers and as bars that lead to the pictures."""
    classes = report.get("classes", {})
    if not classes:
        return ""
    header = ["class", *dict.fromkeys(part for counts in classes.values() for part in counts)]
    largest = max(1, *(counts["labelled"] for counts in classes.values()))
    rows = ""
    for number, (name, counts) in enumerate(classes.items()):
        bar = f'<span class="bar" style="width: {12 * counts["labelled"] / largest:.2f}em"></span>'
        cells = "".join(f'<td class="n">{count}</td>' for count in counts.values())
        rows += f'<tr><td><a href="#class-{number}">{escape(name)}</a></td>{cells}<td>{bar}</td></tr>'
    head = "".join(f"<th{'' if at == 0 else ' class=n'}>{escape(name)}</th>" for at, name in enumerate(header))
    return f'<h2 id="labels">Labels</h2><table><tr>{head}<th></th></tr>{rows}</table>'


def _samples(parts: Mapping[str, Images], class_names: Sequence[str]) -> str:
    """Shows examples of each class and of unlabelled pictures."""
    text = "<h2>Pictures</h2>"
    if "labelled" in parts:
        labels = parts["labelled"].labels
        for label, name in enumerate(class_names):
            shown = np.flatnonzero(labels == label)[: _PER_CLASS if label < _CLASSES else 1]
            text += f'<h3 id="class-{label}">{escape(name)}</h3>{_figures(parts["labelled"], shown)}'
    if "unlabelled" in parts:
        text += f"<h3>Unlabelled</h3>{_figures(parts['unlabelled'], _spread(len(parts['unlabelled']), _UNLABELLED))}"
    return text


def _duplicates(report: Mapping[str, Any], parts: Mapping[str, Images]) -> str:
    text = '<h2 id="duplicates">Duplicates</h2>'
    for kind, found in report["duplicates"].items():
        rows = [[name, count] for name, count in found["by_parts"].items()]
        text += f"<h3>{kind}: {counted(found['pairs'], 'pair')}</h3>{table([], rows)}"
        for pair in found["listed"][:_PAIRS]:
            shown = "".join(
                _figures(parts[part], np.array([position]), caption=f"{part}: {name}") for part, position, name in pair
            )
            text += f'<div class="pair">{shown}</div>'
    return text


def _figures(images: Images, positions: np.ndarray, caption: str = "") -> str:
    """Embeds thumbnails of the images into the page."""
    if not len(positions):
        return "<p>None.</p>"
    figures = ""
    for position, url in zip(positions, thumbnail_urls(images, positions), strict=True):
        shown = as_text(caption or (images.names[position] if images.names else position))
        label = "" if images.labels[position] == NO_LABEL else f' data-label="{images.labels[position]}"'
        picture = f'<img alt="" src="{url}">'
        figures += f'<figure{label} title="{shown}">{picture}<figcaption>{shown}</figcaption></figure>'
    return figures


def _spread(count: int, wanted: int) -> np.ndarray:
    """Returns at most `wanted` evenly spaced positions below `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(int))
