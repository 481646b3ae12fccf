"""Runs of the real command in processes of their own, small enough to end in seconds."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import semppl
from semppl import configs

TINY = (
    f"--flagfile={pathlib.Path(configs.__file__).parent / 'digits.flags'}",
    "--width=0.25",
    "--head_width=16",
    "--embedding_width=16",
    "--batch_size=32",
    "--labelled_batch_size=8",
    "--queue_size=64",
    "--steps=40",
    "--warmup_steps=5",
    "--checkpoint_every=7",
    "--log_every=5",
)
"""Flags of a run of 40 steps, reported every 5 and saved every 7."""

STARTUP_SECONDS = 180
"""How long anything may take on a machine that is busy."""


class Run:
    """A run of the pre-training command.

    Args:
        workdir: of the run.
        flags: after TINY; a later flag wins.
        limit: called in the child before the command starts.
        scratch: where TensorFlow may leave temporary files if it is killed; beside the run by default.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *flags: str,
        limit: Callable[[], None] | None = None,
        scratch: pathlib.Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.workdir = workdir
        scratch = scratch or workdir.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        root = pathlib.Path(semppl.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(scratch), **(environment or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "semppl.trainers.pretrain", *TINY, f"--workdir={workdir}", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=limit,
        )
        self.stdout = self.stderr = ""

    def wait(self) -> int:
        """Returns the exit code, negative for a signal; keeps what was printed."""
        self.stdout, self.stderr = self.process.communicate(timeout=STARTUP_SECONDS)
        return self.process.returncode

    def wait_until(self, holds: Callable[[], Any]) -> bool:
        """Waits for something to hold while the process runs; returns whether it came to hold."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if holds():
                return True
            if self.process.poll() is not None:
                return bool(holds())
            time.sleep(0.001)
        self.process.kill()
        raise TimeoutError(f"waited {STARTUP_SECONDS} s for a run to get somewhere")

    def kill(self) -> int:
        """Kills the process as the power would; returns its exit code."""
        self.process.send_signal(signal.SIGKILL)
        return self.wait()

    def terminate(self) -> tuple[int, float]:
        """Asks the process to stop; returns its exit code and the seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.wait(), time.monotonic() - start


def workers(workdir: pathlib.Path, *flags: str, own_flags: Sequence[Sequence[str]] = ((), ())) -> list[Run]:
    """Starts a run in several processes, which find each other on this machine; the first is the chief.

    Args:
        workdir: of the run.
        flags: of all processes, after TINY.
        own_flags: of each of them, after the others.
    """
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in own_flags]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    started = []
    for index, own in enumerate(own_flags):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        started.append(Run(workdir, *flags, *own, environment={"TF_CONFIG": json.dumps(config)}))
    return started


def digest(workdir: pathlib.Path) -> str:
    """Returns the digest of a finished run's weights."""
    return str(json.loads((workdir / "done.json").read_text())["weights_sha256"])


def reported_steps(workdir: pathlib.Path) -> list[int]:
    """Returns the steps in metrics.jsonl, whole lines only, in the order in which they stand."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def checkpointed_step(workdir: pathlib.Path) -> int:
    """Returns the step of the latest checkpoint that a run would go on from, or 0."""
    path = workdir / "checkpoints" / "checkpoint"
    first = path.read_text().partition("\n")[0] if path.exists() else ""
    return int(first.rpartition("-")[2].strip('"')) if first else 0
