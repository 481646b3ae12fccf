"""Assets of an exported model, for people and clients: class names, remembered labels, model card."""

import csv
import json
import pathlib
from typing import Any

from semppl.export.memory.evidence import Evidence
from semppl.runs.files import require_plain
from semppl.runs.served_models import version_meant

EVIDENCE = pathlib.Path("assets.extra", "evidence.npz")
"""Path, in an exported folder, of the evidence that its memory was built from; servers ignore it."""

MODEL_CARD = "model_card.json"
CLASS_NAMES = "class_names.txt"
LABELS = "labels.csv"


def write_assets(folder: pathlib.Path, card: dict[str, Any], evidence: Evidence | None) -> list[pathlib.Path]:
    """Writes the assets of a model.

    Args:
        folder: Folder to write to.
        card: Model card, written to `model_card.json`.
        evidence: Evidence of the memory, or None. Class names are written to `class_names.txt`, one per line in the order of
            the labels, and the identifiers (those of `neighbours`), labels and paths of remembered images to
            `labels.csv`: of training images, paths in their data set; of added pictures, as they were found.

    Returns:
        The paths of the files.
    """
    paths = [folder / MODEL_CARD]
    paths[0].write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    if evidence is not None:
        paths += [folder / CLASS_NAMES, folder / LABELS]
        paths[1].write_text("".join(f"{name}\n" for name in evidence.class_names), encoding="utf-8")
        with paths[2].open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "label", "class_name", "path"])
            memory = evidence.memory
            rows.writerows(
                [identifier, label, evidence.class_names[label], evidence.paths.get(identifier, "")]
                for identifier, label in zip(memory.ids.tolist(), memory.labels.tolist(), strict=True)
            )
    return paths


def read_card(model: str | pathlib.Path) -> dict[str, Any]:
    """Reads the model card of an exported model.

    Raises:
        ValueError: if the folder has no model card.
    """
    require_plain(model, "model")
    path = pathlib.Path(model) / "assets" / MODEL_CARD
    if not path.is_file():
        raise ValueError(f"--model must be the folder of an exported model. Received: {model}{version_meant(model)}")
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return card


def read_class_names(model: str | pathlib.Path) -> tuple[str, ...]:
    """Reads the class names of an exported model, in the order of the labels; none where the model has no memory."""
    path = pathlib.Path(model) / "assets" / CLASS_NAMES
    return tuple(path.read_text(encoding="utf-8").split("\n")[:-1]) if path.is_file() else ()  # a line break ends each
