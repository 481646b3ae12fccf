"""The page with the results of a search by similarity."""

import dataclasses
import urllib.parse
from collections.abc import Callable, Sequence
from html import escape

from semppl.export.collections.thumbnails import data_url, thumbnail

_SIDE = 128  # of a picture on the page, in pixels
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --right: #187a33; --wrong: #c02626; --quiet: #777; }
@media (prefers-color-scheme: dark) { :root { --right: #5fd07e; --wrong: #ff7b7b; --quiet: #aaa; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }
ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .8em; } figure { margin: 0; width: 128px; }
figcaption { font-size: 12px; overflow-wrap: anywhere; } img { width: 128px; height: 128px; border: 1px solid var(--line); }
.similarity { font-weight: bold; } .right { color: var(--right); } .wrong { color: var(--wrong); } .quiet { color: var(--quiet); }
#drop { border: 2px dashed var(--line); padding: 1.5em; text-align: center; } #drop.over { border-color: var(--right); }
"""
_DROP = """
<p id="drop"><label>Drop a picture here, or choose one: <input type="file" accept="image/*"></label> <span id="state"></span></p>
<div id="found"></div>
<script>
const drop = document.getElementById("drop"), state = document.getElementById("state");
async function search(file) {
  state.textContent = "searching …";
  try {
    const answer = await fetch("search?name=" + encodeURIComponent(file.name), {method: "POST", body: file});
    document.getElementById("found").innerHTML = await answer.text();
    state.textContent = "";
  } catch (error) { state.textContent = "the server does not answer"; }
}
drop.querySelector("input").onchange = event => event.target.files.length && search(event.target.files[0]);
document.ondragover = event => { event.preventDefault(); drop.classList.add("over"); };
document.ondragleave = () => drop.classList.remove("over");
document.ondrop = event => {
  event.preventDefault(); drop.classList.remove("over");
  if (event.dataTransfer.files.length) search(event.dataTransfer.files[0]);
};
</script>
"""


@dataclasses.dataclass(frozen=True)
class Found:
    """A picture that a search found.

    Attributes:
        id: Position of the picture among those of all collections.
        path: Path in its source; may be empty.
        similarity: Cosine similarity to the query, in -1..1.
        truth: Name of the true class; empty if unknown.
        class_name: Name of the predicted class; empty if the model does not classify.
    """

    id: int
    path: str
    similarity: float
    truth: str = ""
    class_name: str = ""

    def describe(self) -> str:
        """Formats similarity, path and class as one line."""
        shown = self.truth or (f"{self.class_name}?" if self.class_name else "")
        return f"{self.similarity:.3f}  {self.path or self.id}{f'  [{shown}]' if shown else ''}"


@dataclasses.dataclass(frozen=True)
class Result:
    """The pictures that are similar to one query.

    Attributes:
        name: Name of the query.
        picture: Content of the query's file.
        found: Pictures found, by falling similarity.
        class_name: Name of the class that the model predicts for the query; empty if the model does not classify.
        probability: Calibrated probability of that class, in 0..1.
        abstains: Whether the probability is too low to rely on.
    """

    name: str
    picture: bytes
    found: tuple[Found, ...]
    class_name: str = ""
    probability: float = 0.0
    abstains: bool = False

    def describe(self) -> str:
        """Formats the predicted class as one line; empty if the model does not classify."""
        doubt = ", too low to rely on" if self.abstains else ""
        return f"{self.class_name}, probability {self.probability:.2f}{doubt}" if self.class_name else ""


def page(sections: str, title: str, *, asks: bool = False) -> str:
    """Returns a self-contained HTML page.

    Args:
        sections: Results, from `section`.
        title: Title of the page.
        asks: Whether the page takes further pictures, and so must come from a `SearchServer`.
    """
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>\n{_DROP if asks else ''}{sections}</html>\n"
    )


def section(result: Result, pictures: Sequence[bytes], *, link: Callable[[Found], str]) -> str:
    """Formats the results of one query as HTML.

    Args:
        result: Query and results.
        pictures: Contents of the files found, in their order; empty bytes for a picture that is gone.
        link: Function that returns the address to which a result leads; empty for none.
    """
    figures = "".join(_figure(one, file, link(one)) for one, file in zip(result.found, pictures, strict=True))
    prediction = f"<p>The model says: {escape(result.describe())}</p>" if result.class_name else ""
    query = f'<img alt="" src="{data_url(thumbnail(result.picture, _SIDE))}">'
    return f"<section><h2>More like {escape(result.name)}</h2>{query}{prediction}<ol>{figures}</ol></section>\n"


def file_address(root: str, found: Found) -> str:
    """Returns the `file:` address of a picture in a folder."""
    return "file://" + urllib.parse.quote(f"{root}/{found.path}")


def _figure(found: Found, picture: bytes, address: str) -> str:
    shown = f'<img alt="" src="{data_url(thumbnail(picture, _SIDE))}">'
    if address:
        shown = f'<a href="{escape(address)}">{shown}</a>'
    return (
        f'<li><figure>{shown}<figcaption><span class="similarity">{found.similarity:.3f}</span> '
        f"{escape(found.path or str(found.id))} {_class(found)}</figcaption></figure></li>"
    )


def _class(found: Found) -> str:
    """Formats the class: green where the prediction is the true class, red where it is another, grey where the truth is unknown."""
    if not found.truth:
        return f'<span class="quiet">{escape(found.class_name)}?</span>' if found.class_name else ""
    if not found.class_name:
        return f"<span>{escape(found.truth)}</span>"
    if found.class_name == found.truth:
        return f'<span class="right">{escape(found.truth)}</span>'
    return f'<span class="wrong">{escape(found.truth)}, predicted {escape(found.class_name)}</span>'
