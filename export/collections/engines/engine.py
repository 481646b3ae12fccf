"""What an engine is, and the engine of this process."""

from collections.abc import Callable, Sequence
from typing import Protocol

from semppl.export.collections.engines.output_folder import Part
from semppl.export.collections.engines.worker import Job, Worker


class Engine(Protocol):
    """Runs a worker's task for every part of a job, in any order and any number of times each."""

    @property
    def flag(self) -> str:
        """The flag that chose the engine, for errors."""

    def run(self, job: Job, parts: Sequence[Part], say: Callable[[int], None]) -> None:
        """Writes parts of a job.

        Args:
            job: Job that the parts belong to.
            parts: Parts to write, at least one.
            say: Callback that receives the number of pictures finished since the last call.
        """


class LocalEngine:
    """Writes one part after the other in this process."""

    flag = "--engine=local"

    def run(self, job: Job, parts: Sequence[Part], say: Callable[[int], None]) -> None:
        """Writes parts of a job."""
        worker = Worker(job)
        for part in parts:
            worker.write(part, say)
