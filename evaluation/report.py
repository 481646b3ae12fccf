"""Writes a report on a run as one self-contained page of HTML: data, curves, map, neighbours, confusions, confidence.

python -m semppl.evaluation.report --workdir=outputs/digits
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import flags

from semppl.programs import model_flags, place_flags, quiet, run_flags

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(place_flags)
flags.declare_key_flag("out")


def _require_run() -> None:
    if model_flags.MODEL.value:
        raise ValueError(
            f"--model must be left out: a report is on a run, --workdir. Received: {model_flags.MODEL.value}"
        )


quiet.parse_flags(__name__, check=_require_run)

from semppl.evaluation.report_page.judged import judge
from semppl.evaluation.report_page.page import report_page
from semppl.runs.files import require_writable, write_atomically

FILE = "report.html"


def report(
    workdir: str | pathlib.Path, *, out: str | pathlib.Path = "", moved: Mapping[str, Any] | None = None
) -> pathlib.Path:
    """Writes a report on the latest checkpoint of a run.

    Args:
        workdir: Folder of the run.
        out: Path of the page; by default `report.html` in the run's folder.
        moved: Settings, by name, of data that now lie elsewhere; see `load_run_data`. "test" may also be a source for a run
            that began without one.

    Returns:
        The path of the page.

    Raises:
        ValueError: If there is no run, no checkpoint or no picture, or an embedding is NaN or Inf.
    """
    path = pathlib.Path(out or pathlib.Path(workdir) / FILE)
    if path.is_dir():
        raise ValueError(f"--out must be an HTML file. Received: {path}, a folder")
    require_writable(path, "out", "file")
    page = report_page(judge(workdir, moved))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    path = report(run_flags.WORKDIR.value, out=model_flags.OUT.value or "", moved=place_flags.moved_from_flags())
    print(f"{path}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
