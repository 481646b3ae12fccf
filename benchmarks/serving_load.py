"""Measures a server of an exported model under overload: responses per second, latency, failures, memory growth.

    python -m semppl.benchmarks.serving_load --model=served/digits/1 --picture_file=digit.png --seconds=600

Starts the stand-in (or `--binary`, TensorFlow Serving's) on the folder above the model, and asks from `--clients` threads, half
over gRPC and half over REST, each asking again as soon as it has its answer. A failure is any answer but the right one; nothing
is asked twice. Clients and server share the machine. Memory is compared with what it was after a tenth of the time.
"""

import itertools
import pathlib
import tempfile
import threading
import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.export.client import connect
from semppl.export.serving.server_process import ServerProcess
from semppl.programs import model_flags

_PICTURE = flags.DEFINE_string("picture_file", None, "JPEG, PNG or BMP file that every request sends.")
_BINARY = flags.DEFINE_string("binary", "", "Path of tensorflow_model_server; empty: the stand-in.")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "Duration in seconds.")
_CLIENTS = flags.DEFINE_integer("clients", 8, "Client threads.")
_ROWS = flags.DEFINE_integer("rows", 1, "Batch size of a request.")

_PATIENCE_SECONDS = 60.0
_PERCENTILES = (50, 90, 99, 99.9)


class Load(NamedTuple):
    """Measurements of one run under load.

    Attributes:
        seconds: Latency of each request.
        failures: Message of each failure.
        memory: Memory of the server in MiB: after a tenth of the time, at the end, and at the peak.
        duration: Duration of the run in seconds.
    """

    seconds: list[float]
    failures: list[str]
    memory: tuple[float, float, float]
    duration: float


def put_under_load(
    model: pathlib.Path, picture: bytes, *, seconds: float, clients: int, rows: int, binary: str
) -> Load:
    """Starts a server, asks for `seconds` from `clients` threads, `rows` pictures at a time, and stops it."""
    inputs = {"bytes": np.array([picture] * rows, object)}
    expected = tf.saved_model.load(str(model)).signatures["embed_bytes"](bytes=tf.constant(inputs["bytes"]))
    right = expected["embedding"].numpy()
    with tempfile.TemporaryDirectory() as scratch:
        server = ServerProcess(model.absolute().parent, pathlib.Path(scratch) / "log", binary=binary)
        try:
            server.wait_for_version(int(model.name))
            return _ask_for(seconds, server, inputs, right, clients)
        finally:
            server.stop()


def _ask_for(
    seconds: float, server: ServerProcess, inputs: dict[str, np.ndarray], right: np.ndarray, clients: int
) -> Load:
    taken: list[float] = []
    failures: list[str] = []
    start = time.monotonic()

    def ask_on(address: str) -> None:
        asked = connect(address, server.model, seconds=_PATIENCE_SECONDS, attempts=1)
        while (begun := time.monotonic()) < start + seconds:
            try:
                np.testing.assert_allclose(asked.predict("embed_bytes", inputs)["embedding"], right, atol=1e-4)
            except (AssertionError, ValueError, OSError) as error:
                failures.append(" ".join(str(error).split()))
            taken.append(time.monotonic() - begun)

    addresses = itertools.cycle((server.grpc, server.rest))
    threads = [
        threading.Thread(target=ask_on, args=(address,)) for address, _ in zip(addresses, range(clients), strict=False)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 10)
    early, _ = server.memory()
    for thread in threads:
        thread.join()
    return Load(taken, failures, (early, *server.memory()), time.monotonic() - start)


def main(argv: list[str]) -> int:
    """Prints a Markdown table; returns 1 if a request failed."""
    del argv
    if min(_SECONDS.value, _CLIENTS.value, _ROWS.value) <= 0:
        received = f"--seconds={_SECONDS.value} --clients={_CLIENTS.value} --rows={_ROWS.value}"
        raise app.UsageError(f"--seconds, --clients and --rows must be positive. Received: {received}")
    load = put_under_load(
        pathlib.Path(str(model_flags.MODEL.value)),
        pathlib.Path(str(_PICTURE.value)).read_bytes(),
        seconds=_SECONDS.value,
        clients=_CLIENTS.value,
        rows=_ROWS.value,
        binary=_BINARY.value,
    )
    early, late, most = load.memory
    milliseconds = np.percentile(load.seconds, _PERCENTILES) * 1e3
    print(f"| {_CLIENTS.value} clients, {_ROWS.value} picture(s) a request, {load.duration:.0f} s | |\n|---|---|")
    print(f"| requests | {len(load.seconds):,} |\n| failed | {len(load.failures):,} |")
    print(f"| pictures/s | {len(load.seconds) * _ROWS.value / load.duration:,.0f} |")
    for percentile, value in zip(_PERCENTILES, milliseconds, strict=True):
        print(f"| latency, {percentile:g} % | {value:,.0f} ms |")
    print(f"| slowest | {max(load.seconds) * 1e3:,.0f} ms |")
    print(f"| memory early, at the end, at most | {early:,.0f}, {late:,.0f}, {most:,.0f} MiB |")
    for failure in sorted(set(load.failures))[:5]:
        print(f"failed: {failure}")
    return 1 if load.failures else 0


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "picture_file"])
    app.run(main)
