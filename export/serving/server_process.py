"""A server of exported models as a separate process: the stand-in, or TensorFlow Serving's binary; Linux only."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import semppl

_STARTUP_SECONDS = 180


class ServerProcess:
    """Serves a model until `stop`.

    Args:
        base: Folder with the versions; its name is that of the model.
        log: File for the output of the server.
        binary: Path of `tensorflow_model_server`; empty for the stand-in.
    """

    def __init__(self, base: pathlib.Path, log: pathlib.Path, *, binary: str = "") -> None:
        self.grpc_port, self.rest_port = _free_port(), _free_port()
        self.rest, self.grpc = f"http://localhost:{self.rest_port}", f"grpc://localhost:{self.grpc_port}"
        self.model, self._log = base.name, log
        command = [binary] if binary else [sys.executable, "-m", "semppl.export.serve"]
        command += [f"--model_name={self.model}", f"--model_base_path={base}", f"--port={self.grpc_port}"]
        command += [f"--rest_api_port={self.rest_port}", "--file_system_poll_wait_seconds=1"]
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        with log.open("w", encoding="utf-8") as file:
            self._process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    def stop(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait(_STARTUP_SECONDS)

    def is_running(self) -> bool:
        """Returns whether the process is running."""
        return self._process.poll() is None

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Waits until a condition holds.

        Raises:
            RuntimeError: with the output of the server, if the process ends first, or the condition does not hold in time.
        """
        deadline = time.monotonic() + _STARTUP_SECONDS
        while not holds():
            if not self.is_running() or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not get there: {self._log.read_text(encoding='utf-8')}")
            time.sleep(0.2)

    def wait_for_version(self, number: int) -> None:
        """Waits until a version is served."""
        self.wait_until(lambda: self._versions().get(str(number)) == "AVAILABLE")

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Sends a REST request, with bytes or any JSON value as body; returns the status code and the answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.rest + path, data), timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def memory(self) -> tuple[float, float]:
        """Returns the current and the largest memory of the process, in MiB."""
        status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        current, largest = (
            int(re.findall(rf"^{name}:\s*(\d+) kB$", status, re.MULTILINE)[0]) / 1024 for name in ("VmRSS", "VmHWM")
        )
        return current, largest

    def _versions(self) -> dict[str, str]:
        """Returns the state of each version."""
        try:
            _, answer = self.ask(f"/v1/models/{self.model}")
        except OSError:
            return {}
        return {entry["version"]: entry["state"] for entry in answer.get("model_version_status", [])}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port
