"""Serves an exported model on this machine: a stand-in for TensorFlow Serving, for trials and tests.

python -m semppl.export.serve --model_name=digits --model_base_path=served/digits
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import pathlib
import signal
import socket
import threading

from absl import flags

from semppl.export.serving.limits import Limits
from semppl.programs import model_flags, quiet
from semppl.programs.extras import require_extra

_MODEL_BASE_PATH = flags.DEFINE_string(
    "model_base_path", None, "Folder with the versions of the model; the newest is served."
)
_PORT = flags.DEFINE_integer(
    "port", 8500, "Port of gRPC on the loopback interface; 0: any free port.", lower_bound=0, upper_bound=2**16 - 1
)
_REST_API_PORT = flags.DEFINE_integer(
    "rest_api_port",
    8501,
    "Port of REST on the loopback interface; 0: any free port.",
    lower_bound=0,
    upper_bound=2**16 - 1,
)
_POLL_SECONDS = flags.DEFINE_float(
    "file_system_poll_wait_seconds",
    1.0,
    "Interval between checks for a newer version, in seconds; 0 or less: only at the start.",
)
_MAX_ROWS = flags.DEFINE_integer("max_rows", Limits.rows, "Maximum batch size of a request.")
_MAX_BYTES = flags.DEFINE_integer("max_request_bytes", Limits.request_bytes, "Maximum size of a request, in bytes.")
_MAX_AT_ONCE = flags.DEFINE_integer(
    "max_at_once", Limits.at_once, "Maximum number of requests that are computed concurrently."
)
_WAIT_SECONDS = flags.DEFINE_float("wait_seconds", Limits.seconds, "Time limit of a request in the queue, in seconds.")

quiet.parse_flags(__name__, required=["model_base_path"])

from semppl.export.serving.model_versions import ModelVersions
from semppl.export.serving.predictor import Predictor


@quiet.program
def main(argv: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    del argv
    require_extra("serving")
    from semppl.export.serving import grpc_service, rest_service

    limits = Limits(_MAX_ROWS.value, _MAX_BYTES.value, _MAX_AT_ONCE.value, _WAIT_SECONDS.value)
    for flag, port in (("port", _PORT.value), ("rest_api_port", _REST_API_PORT.value)):
        _require_free(flag, port)
    print(f"loading the newest version in {_MODEL_BASE_PATH.value}", flush=True)
    versions = ModelVersions(model_flags.MODEL_NAME.value, pathlib.Path(str(_MODEL_BASE_PATH.value)))
    predictor = Predictor(versions, limits)
    try:
        grpc_server, grpc_port = grpc_service.start(predictor, _PORT.value)
    except (RuntimeError, OSError) as error:
        raise _taken("port", _PORT.value, error) from error
    try:
        rest_server = rest_service.start(predictor, _REST_API_PORT.value)
    except OSError as error:
        grpc_server.stop(grace=None)
        raise _taken("rest_api_port", _REST_API_PORT.value, error) from error
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    versions.watch(_POLL_SECONDS.value)
    address = f"http://localhost:{rest_server.server_port}"
    print(f"gRPC on localhost:{grpc_port}, REST on {address}, a page to try pictures on {address}/", flush=True)
    stopped.wait()
    versions.stop()
    rest_server.shutdown()
    grpc_server.stop(grace=5).wait()
    return 0


def _require_free(flag: str, port: int) -> None:
    """Refuses a port that is taken, before the model is loaded."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            raise _taken(flag, port, error) from error


def _taken(flag: str, port: int, error: Exception) -> ValueError:
    return ValueError(f"--{flag} must be a free port, or 0 for any. Received: {port} ({error})")


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
