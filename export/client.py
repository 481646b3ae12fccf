"""Sends pictures, or folders of pictures, to a served model, and prints its answers: a line of JSON per picture.

python -m semppl.export.client --server=http://localhost:8501 --model_name=digits a.png b.png
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import json
import pathlib
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from absl import flags

from semppl.configs.wording import counted
from semppl.programs import model_flags, quiet
from semppl.programs.batch_size_flag import BatchSize
from semppl.programs.extras import has_extra, needs_extra

_SERVER = flags.DEFINE_string(
    "server", "http://localhost:8501", "http://HOST:PORT for REST, grpc://HOST:PORT for gRPC."
)
_SIGNATURE = flags.DEFINE_enum("signature", "serving_default", ["serving_default", "embed_bytes"], "Signature to run.")
BATCH_SIZE = BatchSize(32, "Maximum number of pictures per request.")
_SECONDS = flags.DEFINE_float("timeout_seconds", 10.0, "Time limit of an attempt, in seconds.", lower_bound=0.001)
_ATTEMPTS = flags.DEFINE_integer(
    "attempts",
    10,
    "Maximum number of attempts while the server does not answer; ten wait for about 15 seconds, as long as a server takes to load "
    "its model.",
    lower_bound=1,
)
_SHOW_EMBEDDING = flags.DEFINE_bool(
    "show_embedding", False, "Whether to print the embedding that serving_default returns."
)
flags.declare_key_flag("model_name")

quiet.parse_flags(__name__, define=BATCH_SIZE.define, arguments=True)

from semppl.export.collections.sendable import sendable
from semppl.export.serving.rest_client import RestClient
from semppl.export.serving.retries import NoModelServer, Refused, Unavailable, Waits, wait_silently

_FIRST = ("path", "class_name", "probability", "abstain", "valid")
"""The first entries of an answer; the others follow in alphabetical order."""


class Client(Protocol):
    """A connection to a model server."""

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on named inputs; returns its outputs by name."""


def connect(server: str, model: str, *, seconds: float, attempts: int, waits: Waits = wait_silently) -> Client:
    """Creates the client for an address.

    Args:
        server: Address, http://HOST:PORT, https://HOST:PORT or grpc://HOST:PORT.
        model: Name of the model.
        seconds: Time limit of an attempt.
        attempts: Maximum number of attempts.
        waits: Function that is called before the first pause of a request.

    Raises:
        ValueError: if the address is not valid, or the packages for gRPC are not installed.
    """
    scheme, _, address = server.partition("://")
    if scheme not in ("http", "https", "grpc") or not _names_host(server):
        raise ValueError(f"--server must be http://HOST:PORT or grpc://HOST:PORT. Received: {server}")
    if scheme != "grpc":
        return RestClient(server, model, seconds=seconds, attempts=attempts, waits=waits)
    if not has_extra("serving"):
        raise ValueError(f"--server must be http://HOST:PORT here. Received: {server}; gRPC {needs_extra('serving')}")
    from semppl.export.serving.grpc_client import GrpcClient

    return GrpcClient(address, model, seconds=seconds, attempts=attempts, waits=waits)


def _names_host(server: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(server)
        return bool(parts.hostname) and parts.port != 0 and parts.path.isascii()
    except ValueError:  # an unclosed bracket, or a port that is not a number
        return False


def ask(client: Client, paths: Sequence[pathlib.Path], *, signature: str, batch_size: int) -> Iterator[dict[str, Any]]:
    """Yields the answer to each picture: its path, and the signature's outputs, in the same order for all servers.

    Args:
        client: Connection to the server.
        paths: Picture files.
        signature: Name of a signature that takes files.
        batch_size: Maximum number of pictures per request.

    Raises:
        ValueError: if a picture cannot be read.
        Refused: if the server refuses a request.
        Unavailable: if the server does not answer.
        NoModelServer: if the answer is not that of a model server.
    """
    for first in range(0, len(paths), batch_size):
        batch = paths[first : first + batch_size]
        pictures = np.array([_read(path) for path in batch], object)
        outputs = client.predict(signature, {"bytes": pictures})
        for name, values in outputs.items():
            if values.shape[:1] != (len(batch),):
                raise NoModelServer(f"{name} of shape {values.shape} for {counted(len(batch), 'picture')}")
        for row, path in enumerate(batch):
            answer = {"path": str(path)} | {name: values[row].tolist() for name, values in outputs.items()}
            names = [name for name in _FIRST if name in answer] + sorted(answer.keys() - {*_FIRST})
            yield {name: answer[name] for name in names}


def find_pictures(arguments: Sequence[str]) -> list[pathlib.Path]:
    """Returns the picture files that the arguments name; a folder stands for the pictures in it, at any depth.

    Raises:
        ValueError: if a folder has no picture.
    """
    paths = []
    for argument in map(pathlib.Path, arguments):
        if argument.is_dir():
            # Imports TensorFlow, which single pictures do not need.
            from semppl.export.collections.collection import pictures_in

            paths += pictures_in(argument)
        else:
            paths.append(argument)
    return paths


def _read(path: pathlib.Path) -> bytes:
    try:
        return sendable(path.read_bytes())
    except OSError as error:
        raise ValueError(
            f"The arguments must be pictures, or folders of pictures. Received: {path} ({error.strerror})"
        ) from error


def _how_to_convert(path: str) -> str:
    # Imports TensorFlow, which readable pictures do not need.
    from semppl.export.collections.collection import how_to_convert

    advice = how_to_convert(path)
    return advice and f"; {advice}"


def _text(item: bytes) -> str:
    return item.decode(errors="replace")


def _say_that_it_waits(error: Unavailable) -> None:
    print(f"waiting for {_SERVER.value}, which may still load its model ({_line(error)})", file=sys.stderr, flush=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a line of JSON per picture, and a warning where the model cannot read it; returns the exit code."""
    if len(argv) < 2:
        raise ValueError("The arguments must be pictures, or folders of pictures. Received: none")
    try:
        client = connect(
            _SERVER.value,
            model_flags.MODEL_NAME.value,
            seconds=_SECONDS.value,
            attempts=_ATTEMPTS.value,
            waits=_say_that_it_waits,
        )
        left_out = {"embedding"} if _SIGNATURE.value == "serving_default" and not _SHOW_EMBEDDING.value else set()
        for answer in ask(client, find_pictures(argv[1:]), signature=_SIGNATURE.value, batch_size=BATCH_SIZE.value):
            shown = {name: value for name, value in answer.items() if name not in left_out}
            print(json.dumps(shown, ensure_ascii=False, default=_text), flush=True)
            if not answer.get("valid", True):
                warning = f"warning: {answer['path']}: the model cannot read this picture"
                print(warning + _how_to_convert(answer["path"]), file=sys.stderr)
    except Refused as error:
        asked = "--model_name, --signature and --batch_size"
        raise ValueError(f"{asked} must suit the server. Received: {_line(error)}") from error
    except NoModelServer as error:
        raise ValueError(f"--server must be a model server. Received: {_line(error)}") from error
    except Unavailable as error:
        tried = f"--attempts={_ATTEMPTS.value} of --timeout_seconds={_SECONDS.value:g}"
        print(
            f"error: --server must answer within {tried}. Received: {_line(error)}; raise --attempts for a "
            "server that is still loading its model",
            file=sys.stderr,
        )
        return 1
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
