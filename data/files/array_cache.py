"""Arrays that took long to make, kept on disk between runs: written whole, and never trusted blindly."""

import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from semppl.runs.files import file_written_aside


def user_folder() -> pathlib.Path:
    """Returns the folder of what this project keeps for a user."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "semppl"


def load(place: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Returns what was kept; None where there is nothing, or nothing that can be read."""
    try:
        with np.load(place, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save(place: pathlib.Path, columns: Mapping[str, np.ndarray]) -> bool:
    """Writes arrays so that no reader sees half of them; tells whether that could be done."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with file_written_aside(place) as file:
            np.savez(file, **columns)
    except OSError:
        return False
    return True
