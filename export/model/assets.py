"""The files that travel with a served model, for people and for clients: class names, remembered labels, model card."""

import csv
import json
import pathlib
from typing import Any

from semppl.export.memory.evidence import Evidence

EVIDENCE = pathlib.Path("assets.extra", "evidence.npz")
"""Where an exported folder keeps what its memory was built from; no server reads it."""

MODEL_CARD = "model_card.json"
CLASS_NAMES = "class_names.txt"


def write_assets(folder: pathlib.Path, card: dict[str, Any], evidence: Evidence | None) -> list[pathlib.Path]:
    """Writes the assets into a folder; returns their paths.

    `class_names.txt` has a class a line, in the order of the labels; `labels.csv` the remembered images, by id.
    """
    paths = [folder / MODEL_CARD]
    paths[0].write_text(json.dumps(card, indent=2) + "\n")
    if evidence is not None:
        paths += [folder / CLASS_NAMES, folder / "labels.csv"]
        paths[1].write_text("".join(f"{name}\n" for name in evidence.class_names))
        with paths[2].open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "label", "class_name"])
            memory = evidence.memory
            rows.writerows(
                [number, label, evidence.class_names[label]]
                for number, label in zip(memory.ids.tolist(), memory.labels.tolist(), strict=True)
            )
    return paths


def read_card(model: str | pathlib.Path) -> dict[str, Any]:
    """Reads the card of an exported model.

    Raises:
        ValueError: if there is none.
    """
    path = pathlib.Path(model) / "assets" / MODEL_CARD
    if not path.is_file():
        raise ValueError(f"--model must be the folder of an exported model. Received: {model}")
    card: dict[str, Any] = json.loads(path.read_text())
    return card


def read_class_names(model: str | pathlib.Path) -> tuple[str, ...]:
    """Reads the class names of an exported model, in the order of the labels; none where the model has no memory."""
    path = pathlib.Path(model) / "assets" / CLASS_NAMES
    return tuple(path.read_text().split("\n")[:-1]) if path.is_file() else ()  # a line break ends each
