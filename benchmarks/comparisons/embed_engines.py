"""Compares the engines of `semppl-embed`: this process, two workers of Beam and two of Ray, in turns on the same pictures.

    python -m semppl.benchmarks.comparisons.embed_engines --embed_model=served/own/1 --embed_data=folder:pictures

The time is that of the whole program, start included. Engines that are not installed are left out.
"""

import importlib.util
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

_MODEL = flags.DEFINE_string("embed_model", None, "Folder of an exported model.", required=True)
_DATA = flags.DEFINE_string("embed_data", None, "Source of pictures.", required=True)
_SHARD = flags.DEFINE_integer("embed_shard_size", 100, "Pictures per file.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("engine_rounds", 3, "Rounds.", lower_bound=1)

ENGINES = {
    "this process": (),
    "Beam, 2 workers": (
        "--engine=beam",
        "--runner=DirectRunner",
        "--direct_num_workers=2",
        "--direct_running_mode=multi_processing",
    ),
    "Ray, 2 workers": ("--engine=ray", "--ray_workers=2"),
}
_NEEDS = {"Beam, 2 workers": "apache_beam", "Ray, 2 workers": "ray"}


def seconds(*options: str) -> float:
    """Returns the time that the program takes with the options of an engine.

    Raises:
        subprocess.CalledProcessError: If the program fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "semppl.export.embed", f"--model={_MODEL.value}", f"--data={_DATA.value}"]
        command += [f"--out={pathlib.Path(folder, 'out')}", f"--shard_size={_SHARD.value}", *options]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    installed = [name for name in ENGINES if name not in _NEEDS or importlib.util.find_spec(_NEEDS[name])]
    rounds = [{name: seconds(*ENGINES[name]) for name in installed} for _ in range(_ROUNDS.value)]
    print("| engine | seconds | this process : engine |\n|---|---|---|")
    for name in installed:
        ratio = statistics.median(taken["this process"] / taken[name] for taken in rounds)
        print(f"| {name} | {statistics.median(taken[name] for taken in rounds):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    app.run(main)
