"""Asks a served model what pictures show.

python -m semppl.export.client --server=http://localhost:8501 --model_name=digits a.png b.png
"""

import json
import pathlib
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
from absl import flags

from semppl.export.serving.rest_client import RestClient
from semppl.export.serving.retries import NoModelServer, Refused, Unavailable
from semppl.programs import model_flags
from semppl.programs.extras import has_extra, needs_extra

_SERVER = flags.DEFINE_string(
    "server", "http://localhost:8501", "http://HOST:PORT for REST, grpc://HOST:PORT for gRPC."
)
_SIGNATURE = flags.DEFINE_enum("signature", "serving_default", ["serving_default", "embed_bytes"], "What is asked.")
_PICTURES_PER_REQUEST = flags.DEFINE_integer("pictures_per_request", 32, "Pictures in a request.", lower_bound=1)
_SECONDS = flags.DEFINE_float("timeout_seconds", 10.0, "How long an attempt may take.", lower_bound=0.001)
_ATTEMPTS = flags.DEFINE_integer("attempts", 4, "How often to ask a server that does not answer.", lower_bound=1)
flags.declare_key_flag("model_name")


class Client(Protocol):
    """What asks a server."""

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature."""


def connect(server: str, model: str, *, seconds: float, attempts: int) -> Client:
    """Makes the client that an address asks for.

    Raises:
        ValueError: if it is no such address, or what it needs is not installed.
    """
    scheme, _, address = server.partition("://")
    if scheme not in ("http", "https", "grpc") or not _names_host(server):
        raise ValueError(f"--server must be http://HOST:PORT or grpc://HOST:PORT. Received: {server}")
    if scheme != "grpc":
        return RestClient(server, model, seconds=seconds, attempts=attempts)
    if not has_extra("serving"):
        raise ValueError(f"--server must be http://HOST:PORT here. Received: {server}; gRPC {needs_extra('serving')}")
    from semppl.export.serving.grpc_client import GrpcClient

    return GrpcClient(address, model, seconds=seconds, attempts=attempts)


def _names_host(server: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(server)
        return bool(parts.hostname) and parts.port != 0 and parts.path.isascii()
    except ValueError:  # of a bracket that is not closed, or a port that is no number
        return False


def ask(client: Client, paths: Sequence[pathlib.Path], *, signature: str, batch_size: int) -> Iterator[dict[str, Any]]:
    """Yields what a model answers to each picture: the outputs of its row, and its path.

    Raises:
        ValueError: if a picture cannot be read.
        Refused: if the server refuses a request.
        Unavailable: if it does not answer.
        NoModelServer: if it answers something else.
    """
    for first in range(0, len(paths), batch_size):
        some = paths[first : first + batch_size]
        pictures = np.array([_read(path) for path in some], object)
        outputs = client.predict(signature, {"bytes": pictures})
        for name, values in outputs.items():
            if values.shape[:1] != (len(some),):
                raise NoModelServer(f"{name} of shape {values.shape} for {len(some)} pictures")
        for row, path in enumerate(some):
            yield {"path": str(path)} | {name: values[row].tolist() for name, values in outputs.items()}


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"The arguments must be pictures. Received: {path} ({error.strerror})") from error


def _text(item: bytes) -> str:
    return item.decode(errors="replace")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@quiet.takes_arguments
@quiet.program
def main(argv: list[str]) -> int:
    """Prints a line of JSON per picture; returns the exit code."""
    if len(argv) < 2:
        raise ValueError("The arguments must be pictures. Received: none")
    try:
        client = connect(_SERVER.value, model_flags.MODEL_NAME.value, seconds=_SECONDS.value, attempts=_ATTEMPTS.value)
        paths = [pathlib.Path(argument) for argument in argv[1:]]
        for answer in ask(client, paths, signature=_SIGNATURE.value, batch_size=_PICTURES_PER_REQUEST.value):
            print(json.dumps(answer, ensure_ascii=False, default=_text))
    except Refused as error:
        asked = "--model_name, --signature and --pictures_per_request"
        raise ValueError(f"{asked} must suit the server. Received: {_line(error)}") from error
    except NoModelServer as error:
        raise ValueError(f"--server must be a model server. Received: {_line(error)}") from error
    except Unavailable as error:
        tried = f"--attempts={_ATTEMPTS.value} of --timeout_seconds={_SECONDS.value:g}"
        print(f"error: --server must answer within {tried}. Received: {_line(error)}", file=sys.stderr)
        return 1
    return 0


def run() -> None:
    """Is the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
