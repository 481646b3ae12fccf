"""Several processes that train one model: what TF_CONFIG says, which one writes, and what happens when one is lost."""

import contextlib
import dataclasses
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.layers import collectives
from semppl.trainers.devices.termination import Termination

WORKER_LOST = 5
"""The exit code of a worker that lost another."""

_JOBS = ("chief", "worker")  # the first of them all is the chief
_EXAMPLE = (
    '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}, '
    "this process among the workers"
)


class WorkerLost(Exception):
    """Another worker does not answer; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
        addresses: `host:port` of each process, the chief's first.
        place: Position of this process in `addresses`.
    """

    addresses: tuple[str, ...]
    place: int

    @classmethod
    def from_environment(cls) -> "Cluster":
        """Reads TF_CONFIG; without one, the cluster has no addresses.

        Raises:
            ValueError: If TF_CONFIG does not say who the workers are, and which one this is.
        """
        text = os.environ.get("TF_CONFIG", "").strip()
        if text in ("", "{}"):  # as TensorFlow sees it
            return cls((), 0)
        try:
            config = json.loads(text)
            jobs, task = config["cluster"], config["task"]
            members = {(job, index): str(at) for job in _JOBS for index, at in enumerate(jobs.get(job, ()))}
            place = list(members).index((task["type"], int(task["index"])))
            for address in members.values():
                host, _, port = address.rpartition(":")
                if not host or not 0 < int(port) < 2**16:
                    raise ValueError(address)
        except (ValueError, KeyError, TypeError, AttributeError):
            received = " ".join(text.split())[:200]
            raise ValueError(f"TF_CONFIG must be like {_EXAMPLE}. Received: {received}") from None
        return cls(tuple(members.values()), place)

    @property
    def size(self) -> int:
        """Number of processes that train together."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's folder and reports; a process without others does."""
        return self.place == 0


ALONE = Cluster((), 0)
"""The cluster of a process that trains without others."""


@contextlib.contextmanager
def noticing_losses(cluster: Cluster) -> Iterator[None]:
    """Reports the loss of another worker in one line; TensorFlow notices one within ten seconds, during any step.

    Args:
        cluster: The processes that train together.

    Raises:
        WorkerLost: If TensorFlow reports that another worker does not answer.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if cluster.size == 1 or not isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError):
            raise
        aborted = re.search(r"aborted by: (.+)", error.message)
        reason = aborted[1][:200] if aborted else type(error).__name__
        raise WorkerLost(
            f"a worker was lost ({reason}). Start all {cluster.size} again, each with its own "
            "command: they go on from the last checkpoint"
        ) from error


def require_agreement(
    cluster: Cluster, devices: tf.distribute.Strategy, settings: Mapping[str, Any], message: str
) -> None:
    """Compares settings over all workers of a cluster.

    Args:
        cluster: The processes that train together; one without others agrees with itself.
        devices: Strategy of this worker.
        settings: Settings that must be equal on all workers, by name; all workers pass the same names.
        message: Beginning of the error message; the differing settings follow.

    Raises:
        ValueError: If a setting differs; where only another worker notices, this one then loses that worker.
    """
    if cluster.size == 1:
        return
    numbers = np.array([zlib.crc32(repr(value).encode()) for value in settings.values()])
    add_up = tf.function(lambda: devices.run(lambda: collectives.all_reduce_sum(tf.constant(numbers, tf.int64))))
    total = devices.experimental_local_results(add_up())[0].numpy()
    different = np.flatnonzero(total != numbers * devices.num_replicas_in_sync)
    if len(different):
        names = list(settings)
        raise ValueError(message + ", ".join(f"{names[place]}={settings[names[place]]}" for place in different))


class Following(tf.keras.callbacks.Callback):
    """Keeps a worker that is not the chief training until the chief has saved.

    A signal to stop comes to all workers. The chief needs the others to end its step and save; then they lose the chief, and
    end too.

    Args:
        termination: Source of requests to stop early.
    """

    def __init__(self, termination: Termination) -> None:
        super().__init__()
        self._termination = termination

    def on_train_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """Lets a signal wait for the chief."""
        self._termination.underway = True
