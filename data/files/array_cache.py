"""Cache of arrays on disk, for results that take long to compute."""

import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from semppl.runs.files import file_written_aside


def user_folder() -> pathlib.Path:
    """Returns this project's folder in the user's cache folder."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "semppl"


def load(place: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Returns the cached arrays by name; None if the file is missing or damaged."""
    try:
        with np.load(place, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def save(place: pathlib.Path, columns: Mapping[str, np.ndarray]) -> bool:
    """Writes arrays atomically; returns whether the file could be written."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with file_written_aside(place) as file:
            np.savez(file, **columns)
    except OSError:
        return False
    return True
