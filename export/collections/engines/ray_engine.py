"""The engine Ray Data: a pool of workers on a Ray cluster, or on a Ray that is started on this machine."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from semppl.export.collections.engines.output_folder import Part
from semppl.export.collections.engines.worker import Job, write_part

_HERE = "local"  # for Ray: start a cluster of this machine alone
_PATIENCE = 10  # seconds that a cluster may take to accept a connection


class _Writer:
    """Writes the parts that an actor of the pool receives; Ray replaces an actor that is lost, and sends its part again."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, row: dict[str, Part]) -> dict[str, int]:
        return {"pictures": write_part(row["item"], self._job)}


class RayEngine:
    """Writes the parts of a job by a pool of actors.

    Args:
        address: Address of a Ray cluster, `HOST:PORT` or `auto`; by default, Ray is started on this machine, and stopped at
            the end.
        workers: Number of workers; 0 for one per GPU, or one per machine of a cluster without GPUs.
    """

    flag = "--engine=ray"

    def __init__(self, address: str = "", workers: int = 0) -> None:
        self._address, self._workers = address or _HERE, workers

    def run(self, job: Job, parts: Sequence[Part], say: Callable[[int], None]) -> None:
        """Writes parts of a job."""
        with _connected(self._address):
            gpus = int(ray.cluster_resources().get("GPU", 0))
            workers = self._workers or gpus or sum(node["Alive"] for node in ray.nodes())
            written = ray.data.from_items(list(parts), override_num_blocks=len(parts)).map(
                _Writer,
                fn_constructor_args=(job,),
                # A worker receives a part when the last one is written: a slow worker keeps no part from the others.
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts)), max_tasks_in_flight_per_actor=1),
                num_cpus=1,
                num_gpus=1 if gpus else 0,
            )
            with _errors_of_workers():
                for row in written.iter_rows():
                    say(row["pictures"])


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connects to a cluster, or starts Ray on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no request to another host
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray Data itself gives rise to an error in Ray's log
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address not in (_HERE, "auto"):  # where nothing listens, Ray itself waits for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        ray.init(address=address, include_dashboard=False if address == _HERE else None, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--ray_address must be HOST:PORT of a running Ray cluster, or auto. Received: {address} ({reason})"
        ) from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _errors_of_workers() -> Iterator[None]:
    """Raises an error that the user can correct as the worker raised it, without the stack of its process."""
    try:
        yield
    except RayError as error:
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, ValueError | OSError) and not isinstance(cause, RayError)):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from error
