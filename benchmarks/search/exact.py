"""Measures the exact search for nearest neighbours of the evaluators beside the flat index of faiss-cpu.

    python -m semppl.benchmarks.search.exact --memory_size=1000000 --query_count=10000

In turns, both find the most similar of random unit-norm vectors; the time of faiss includes the filling of its index. Prints the
medians, their ratio, the share of positions that are equal, and what our search adds to the memory of the process at its peak.
"""

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags

from semppl.evaluation.neighbours.nearest_neighbours import nearest

_MEMORY = flags.DEFINE_integer("memory_size", 1_000_000, "Number of vectors that are searched.", lower_bound=1)
_QUERIES = flags.DEFINE_integer("query_count", 10_000, "Number of vectors that are searched for.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("vector_width", 256, "Width of a vector.", lower_bound=1)
_FOUND = flags.DEFINE_integer("found", 20, "Number of neighbours to find.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("search_rounds", 3, "Rounds of each search.", lower_bound=1)

Search = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def flat_index(queries: np.ndarray, memory: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Searches with the flat index of faiss; see `nearest`."""
    import faiss

    index = faiss.IndexFlatIP(memory.shape[1])
    index.add(memory)
    similarities, positions = index.search(queries, k)
    return similarities, positions


def unit_vectors(count: int, width: int, seed: int) -> np.ndarray:
    """Draws vectors `[count, width]` float32 of Euclidean norm 1."""
    vectors = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def compare(queries: np.ndarray, memory: np.ndarray, k: int, rounds: int) -> dict[str, float]:
    """Measures both searches in turns.

    Returns:
        "ours" and "faiss", median seconds; "equal", the share of equal positions; "added", the bytes that our search, which comes
        first, adds to the peak of the process.
    """
    seconds: dict[str, list[float]] = {"ours": [], "faiss": []}
    searches: dict[str, Search] = {"ours": nearest, "faiss": flat_index}
    positions: dict[str, np.ndarray] = {}
    before = _peak()
    added = 0.0
    for _ in range(rounds):
        for name, search in searches.items():
            start = time.perf_counter()
            positions[name] = search(queries, memory, k)[1]
            seconds[name].append(time.perf_counter() - start)
            if name == "ours" and len(seconds[name]) == 1:
                added = _peak() - before
    equal = float(np.mean(positions["ours"] == positions["faiss"]))
    return {name: statistics.median(times) for name, times in seconds.items()} | {"equal": equal, "added": added}


def _peak() -> float:
    """Returns the peak of this process's memory in bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    memory, queries = (
        unit_vectors(count, _WIDTH.value, seed) for seed, count in enumerate((_MEMORY.value, _QUERIES.value))
    )
    measured = compare(queries, memory, _FOUND.value, _ROUNDS.value)
    print("| vectors | queries | ours, s | faiss flat, s | speed of faiss's | equal positions | added at the peak |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {len(memory):,} × {_WIDTH.value} | {len(queries):,} | {measured['ours']:.2f} | {measured['faiss']:.2f} | "
        f"{measured['faiss'] / measured['ours']:.2f} | {measured['equal']:.6f} | {measured['added'] / 2**20:.0f} MiB |"
    )


if __name__ == "__main__":
    app.run(main)
