"""The page of the stand-in server: drop a picture, see the answer and the nearest labelled pictures."""

import csv
import functools
import html
import json
import os
import pathlib

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import folders_of
from semppl.export.collections.thumbnails import data_url, thumbnail
from semppl.export.model.assets import LABELS, read_card

_SIDE = 128  # of a thumbnail, in pixels

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{TITLE}}</title>
<style>
:root { color-scheme: light dark; --line: #8886; --quiet: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
#drop { border: 2px dashed var(--line); padding: 1.5em; text-align: center; } #drop.over { border-style: solid; }
#shown { max-width: 16em; max-height: 16em; } .quiet { color: var(--quiet); }
ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .8em; } li { width: 128px; overflow-wrap: anywhere; }
li img { width: 128px; height: 128px; border: 1px solid var(--line); }
</style>
<h1>{{TITLE}}</h1>
<p id="drop"><label>Drop a picture here, or choose one: <input type="file" accept="image/*"></label></p>
<p id="state" class="quiet"></p>
<img id="shown" alt="" hidden>
<div id="answer"></div><ol id="nearest"></ol>
<script>
const at = id => document.getElementById(id);
async function ask(url, body) {
  const answer = await fetch(url, body && {method: "POST", body: JSON.stringify(body)});
  const content = await answer.json();
  if (!answer.ok) throw Error(content.error);
  return content;
}
function line(text, quiet) {
  const p = document.createElement("p"); p.textContent = text; if (quiet) p.className = "quiet"; at("answer").append(p);
}
async function answer(file) {
  at("answer").replaceChildren(); at("nearest").replaceChildren(); at("state").textContent = "…";
  at("shown").src = URL.createObjectURL(file); at("shown").hidden = false;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = ""; for (const byte of bytes) text += String.fromCharCode(byte);
    const predict = "v1/models/" + encodeURIComponent({{NAME}}) + ":predict";
    const {predictions: [one]} = await ask(predict, {instances: [{b64: btoa(text)}]});
    if (!one.valid) { at("state").textContent = "The model cannot read this picture."; return; }
    at("state").textContent = "";
    if (one.class_name === undefined) { line("The model embeds pictures, and has no labelled images to answer from."); return; }
    line(`${one.class_name}, probability ${one.probability.toFixed(2)}` + (one.abstain ? " (too low to rely on)" : ""));
    line(`out-of-distribution score ${one.ood.toFixed(0)} of 100`, true);
    const {outputs} = await ask(predict, {signature_name: "neighbours", inputs: {embedding: [one.embedding]}});
    const nearest = await ask("labelled?ids=" + outputs.ids[0].join(","));
    nearest.forEach((picture, rank) => {
      const item = document.createElement("li"), caption = document.createElement("div");
      if (picture.thumbnail) { const image = new Image(); image.src = picture.thumbnail; image.alt = ""; item.append(image); }
      caption.textContent = `${outputs.similarities[0][rank].toFixed(3)} ${picture.class_name} `;
      const path = document.createElement("span"); path.className = "quiet"; path.textContent = picture.path; caption.append(path);
      item.append(caption); at("nearest").append(item);
    });
  } catch (error) { at("state").textContent = String(error.message || error); }
}
at("drop").querySelector("input").onchange = event => event.target.files.length && answer(event.target.files[0]);
document.ondragover = event => { event.preventDefault(); at("drop").classList.add("over"); };
document.ondragleave = () => at("drop").classList.remove("over");
document.ondrop = event => {
  event.preventDefault(); at("drop").classList.remove("over");
  if (event.dataTransfer.files.length) answer(event.dataTransfer.files[0]);
};
</script>
</html>
"""


class LabelledPictures:
    """The labelled pictures that a version of a model remembers, for the page.

    Args:
        version: Folder of the exported model.
    """

    def __init__(self, version: pathlib.Path) -> None:
        file = version / "assets" / LABELS
        self._rows: dict[int, dict[str, str]] = {}
        if file.is_file():
            with file.open(encoding="utf-8", newline="") as lines:
                self._rows = {int(row["id"]): row for row in csv.DictReader(lines)}
        self._roots = folders_of(Hyperparameters.from_dict(read_card(version)["hyperparameters"]))

    def describe(self, identifier: int) -> dict[str, str]:
        """Returns class_name, path, and thumbnail, a `data:` URL, of a picture; each is empty where it cannot be found."""
        row = self._rows.get(identifier, {})
        path = row.get("path") or ""
        return {
            "class_name": row.get("class_name", ""),
            "path": path,
            "thumbnail": self._thumbnail(path) if path else "",
        }

    def _thumbnail(self, path: str) -> str:
        # Pictures that were added later have absolute paths.
        places = {path} if os.path.isabs(path) else {str(root / path) for root in self._roots}
        found = [place for place in places if os.path.isfile(place)]
        if len(found) != 1:  # gone, or ambiguous
            return ""
        return data_url(thumbnail(pathlib.Path(found[0]).read_bytes(), _SIDE))


@functools.lru_cache(maxsize=1)
def labelled_pictures(version: pathlib.Path) -> LabelledPictures:
    """Returns the labelled pictures of the served version; reads the version's files once, as the server does."""
    return LabelledPictures(version)


def page(model: str) -> bytes:
    """Returns the page of the model with a name."""
    name = json.dumps(model).replace("<", "\\u003c")
    return _PAGE.replace("{{TITLE}}", html.escape(model)).replace("{{NAME}}", name).encode()
