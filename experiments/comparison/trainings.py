"""Trains the runs of a comparison as processes, two at a time."""

import concurrent.futures
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence

from semppl.configs.setting import as_arguments
from semppl.experiments.comparison.plan import Training
from semppl.programs.process.children import Children
from semppl.runs.folder import wait_until_free

SIDE_BY_SIDE = 2
"""Trainings at a time: two processes of one thread use two cores better than one process of two threads."""

PROGRAM = (sys.executable, "-m", "semppl.trainers.pretrain")

_GRACE = 60.0
"""Seconds that a training has to save when the comparison is stopped."""


def train_side_by_side(
    trainings: Sequence[Training],
    ended: Callable[[Training, float, int], None],
    *,
    shown: Training | None = None,
    options: Sequence[str] = (),
    program: Sequence[str] | None = None,
) -> None:
    """Trains runs, SIDE_BY_SIDE at a time, in order; an error or a signal stops all, and each saves its state.

    Args:
        trainings: Runs; each starts from its latest checkpoint.
        ended: Function that is called, one call at a time, with each run that ended, its seconds and its exit code, as soon as
            it ends.
        shown: Run whose output goes to the terminal; that of the others goes to their logs.
        options: Arguments of the training program beside the settings.
        program: Command of the training program, to which the arguments are appended. Default PROGRAM.
    """
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool, Children(grace=_GRACE) as children:
        futures = {
            pool.submit(_train, run, children, program or PROGRAM, options, shown=run is shown): run
            for run in trainings
        }
        try:
            for future in concurrent.futures.as_completed(futures):
                ended(futures[future], *future.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def print_log(training: Training, *, shown: bool = False) -> None:
    """Prints the log of a training that failed on stderr, unless its output was `shown`."""
    if not shown:
        print(training.log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr, flush=True)


def _train(
    training: Training, children: Children, program: Sequence[str], options: Sequence[str], *, shown: bool
) -> tuple[float, int]:
    """Trains in a process with its share of the cores; returns its seconds and its exit code.

    A training that is left from a comparison that was killed first gets time to save its state.
    """
    wait_until_free(training.folder, _GRACE)
    start = time.monotonic()
    command = [*program, *as_arguments(training.settings), *options, f"--workdir={training.folder}"]
    threads = str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE))
    share = {"TF_NUM_INTRAOP_THREADS": threads, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    with contextlib.ExitStack() as log:
        output = None if shown else log.enter_context(training.log.open("w", encoding="utf-8"))
        code = children.start(command, stdout=output, stderr=output, env=os.environ | share).wait()
    return time.monotonic() - start, code
