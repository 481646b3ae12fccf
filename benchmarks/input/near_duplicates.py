"""Measures the time and the memory of the doctor's search for near duplicates, by the number of pictures.

    python -m semppl.benchmarks.input.near_duplicates

Fingerprints are made without pictures: frames of one scene, where every pair is alike, and pictures of which none are.
"""

import time
import tracemalloc

import numpy as np
from absl import app, flags

from semppl.data.duplicates import Prints, near_duplicates

_COUNTS = flags.DEFINE_list("counts", ["1000", "4000", "16000", "64000"], "Numbers of pictures.")


def fingerprints(count: int, *, alike: bool) -> Prints:
    """Makes fingerprints of frames of one scene, or of pictures that differ."""
    rng = np.random.default_rng(0)
    scene = rng.integers(8, 248, (1, 8, 9))
    levels = scene + rng.integers(-2, 3, (count, 8, 9)) if alike else rng.integers(0, 256, (count, 8, 9))
    return Prints(rng.integers(0, 256, (count, 16)).astype(np.uint8), levels.astype(np.uint8))


def measure(prints: Prints) -> tuple[int, float, float]:
    """Returns the number of groups, the seconds without tracing, and the peak of the memory that the search adds, in MB."""
    clock = time.perf_counter()
    groups = near_duplicates(prints)
    seconds = time.perf_counter() - clock
    tracemalloc.start()
    near_duplicates(prints)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return len(groups), seconds, peak / 1e6


def main(argv: list[str]) -> None:
    """Prints a line per number of pictures."""
    del argv
    for count in map(int, _COUNTS.value):
        for alike in (True, False):
            groups, seconds, megabytes = measure(fingerprints(count, alike=alike))
            kind = "frames of one scene" if alike else "different pictures"
            print(f"{count} {kind}: {groups} groups, {seconds:.2f} s, {megabytes:.0f} MB", flush=True)


if __name__ == "__main__":
    app.run(main)
