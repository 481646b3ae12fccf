"""Times data sets in turns, so that other load on the machine affects all of them alike."""

import statistics
import time

import tensorflow as tf


def rates(datasets: dict[str, tf.data.Dataset], count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Returns each dataset's median images per second, and per second of processor time, timed in turns after one warm-up."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in datasets}
    for turn in range(rounds + 1):
        for name, dataset in datasets.items():
            clock, processor = time.perf_counter(), time.process_time()
            for _ in dataset:
                pass
            if turn:
                measured[name].append(
                    (count / (time.perf_counter() - clock), count / (time.process_time() - processor))
                )
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(used for _, used in pairs))
        for name, pairs in measured.items()
    }
