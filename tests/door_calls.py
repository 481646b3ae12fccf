"""Calls through the door, for mypy to check: functions and packages of the same name, in one module."""

import pathlib
from typing import Any

import semppl
from semppl.export import export_model
from semppl.export.model.assets import read_card


def export_and_read_card(workdir: pathlib.Path, export_dir: pathlib.Path, **settings: Any) -> dict[str, Any]:
    """Exports a run; returns its card as the files hold it, and checks that the function returns the same card."""
    returned: dict[str, Any] = semppl.export(workdir, export_dir, **settings)
    card: dict[str, Any] = read_card(export_dir)
    if returned["weights_sha256"] != card["weights_sha256"] or card["licences"]["data"] != export_model.DATA_LICENCE:
        raise ValueError(f"The function must return the card. Received: {returned}")
    return card
