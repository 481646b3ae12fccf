"""Folders of exported models, `<name>/<version>/`: what a path that names none was probably meant to name."""

import os
import pathlib

_GRAPH = "saved_model.pb"


def version_meant(path: str | os.PathLike[str]) -> str:
    """Returns "; did you mean …?" with the newest version in a folder of versions; empty if there is none."""
    folder = pathlib.Path(path)
    versions = [file.parent for file in folder.glob(f"*/{_GRAPH}") if _is_number(file.parent.name)]
    return f"; did you mean {max(versions, key=lambda version: int(version.name))}?" if versions else ""


def base_meant(path: str | os.PathLike[str]) -> str:
    """Returns "; did you mean …?" with the folder of versions that a version lies in; empty if the path is no version."""
    folder = pathlib.Path(path)
    return f"; did you mean {folder.parent}?" if _is_number(folder.name) and (folder / _GRAPH).is_file() else ""


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()
