"""Advice as a self-contained page of HTML: thumbnails, reasons, and fields for labels."""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from semppl.configs.wording import counted
from semppl.data.thumbnails import thumbnail_urls
from semppl.evaluation.advice.embedded import Embedded
from semppl.evaluation.advice.suspicion import Suspect
from semppl.programs.pages.html_page import as_text, document, encodable

_STYLE = """
:root { --strong: #2a62ad; }
@media (prefers-color-scheme: dark) { :root { --strong: #8bb8f0; } }
body { max-width: 76em; margin: 1.5em auto; }
ol { list-style: none; padding: 0; display: grid; gap: .8em; grid-template-columns: repeat(auto-fill, minmax(10.5em, 1fr)); }
ol.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 21em), 1fr)); }
li { border: 1px solid var(--line); border-radius: .4em; padding: .6em; min-width: 0; }
img { width: 128px; height: 128px; max-width: 100%; object-fit: contain; background: var(--soft); }
.near { display: flex; flex-wrap: wrap; gap: .4em; margin-top: .4em; } .near img { width: 72px; height: 72px; }
figure { margin: 0; width: 72px; } figcaption, .path { font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; }
.path { color: GrayText; } b { color: var(--strong); overflow-wrap: anywhere; }
input { width: 100%; box-sizing: border-box; font: inherit; margin-top: .3em; }
button { font: inherit; padding: .3em 1em; } header { position: sticky; top: 0; background: Canvas; padding: .4em 0; }
@media print { header button { display: none; } li { break-inside: avoid; } }
"""
_SAVE = """
const table = TABLE;
document.getElementById("save").onclick = () => {
  const cell = text => /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  document.querySelectorAll("input").forEach(field => { table[+field.dataset.row][1] = field.value.trim(); });
  const text = table.map(row => row.map(cell).join(",")).join("\\n") + "\\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = "labels.csv";
  link.click();
};
"""


def labelling_page(embedded: Embedded, chosen: Sequence[int], table: Sequence[Sequence[str]], why: str) -> str:
    """Returns a page with a thumbnail and a field for each picture to label; the button saves the filled table.

    Args:
        embedded: Training pictures.
        chosen: Rows of the pictures to label.
        table: Rows of the label file, as `label_rows.label_table` returns them.
        why: How the pictures were chosen, in words.
    """
    names = "".join(f'<option value="{as_text(name)}">' for name in embedded.class_names)
    items = ""
    for number, (picture, url) in enumerate(zip(chosen, _thumbnails(embedded, chosen), strict=True), start=1):
        shown = as_text(embedded.name(picture))
        items += (
            f'<li><img alt="" src="{url}"><div class="path">{number}. {shown}</div>'
            f'<input data-row="{number}" list="classes" placeholder="label" aria-label="label of {shown}"></li>\n'
        )
    # JSON inside of a script must not end the script; bytes that are not Unicode cannot be saved by a browser.
    content = json.dumps([[encodable(cell) for cell in row] for row in table]).replace("<", "\\u003c")
    return document(
        f"{counted(len(chosen), 'picture')} to label",
        f'<header><button id="save">Save labels.csv</button></header><p>{as_text(why[0].upper() + why[1:])}</p>\n'
        f'<datalist id="classes">{names}</datalist><ol>\n{items}</ol>\n<script>{_SAVE.replace("TABLE", content)}</script>',
        style=_STYLE,
    )


def suspects_page(embedded: Embedded, suspects: Sequence[Suspect], why: str) -> str:
    """Returns a page with a thumbnail, the reasons, and the nearest labelled pictures of each suspect.

    Args:
        embedded: Training pictures.
        suspects: Suspicious pictures, the most suspicious first.
        why: How the pictures were found, in words.
    """
    rows = [row for suspect in suspects for row in (suspect.row, *suspect.neighbours)]
    urls = _thumbnails(embedded, rows)
    items = ""
    for number, suspect in enumerate(suspects, start=1):
        label = as_text(embedded.class_name(int(embedded.labels[suspect.row])) or "no label")
        given = f" → neighbours: <b>{as_text(suspect.neighbours_label)}</b>" if suspect.neighbours_label else ""
        picture = f'<img alt="" src="{next(urls)}">'
        near = "".join(_neighbour(embedded, row, next(urls)) for row in suspect.neighbours)
        items += (
            f"<li>{picture}<div>{number}. {label}{given}</div><div>{as_text('; '.join(suspect.reasons))}</div>"
            f'<div class="path">{as_text(embedded.name(suspect.row))}</div><div class="near">{near}</div></li>\n'
        )
    return document(
        counted(len(suspects), "suspicious picture"),
        f'<p>{as_text(why[0].upper() + why[1:])}</p>\n<ol class="wide">\n{items}</ol>',
        style=_STYLE,
    )


def _neighbour(embedded: Embedded, row: int, url: str) -> str:
    label = as_text(embedded.class_name(int(embedded.labels[row])))
    return f'<figure title="{as_text(embedded.name(row))}"><img alt="" src="{url}"><figcaption>{label}</figcaption></figure>'


def _thumbnails(embedded: Embedded, rows: Sequence[int]) -> Iterator[str]:
    return thumbnail_urls(embedded.images, np.array(rows, np.int64), side=128) if len(rows) else iter(())
