"""Processes that a program starts: they end when the program is stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

_STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

_LAUNCHER = """
import ctypes, os, sys
parent, number, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, int(number), 0, 0, 0)  # PR_SET_PDEATHSIG
if os.getppid() != int(parent):
    sys.exit(128 + int(number))  # the parent ended before
os.execvp(command[0], command)
"""
"""Program that makes Linux send it a signal when the thread that started it ends, and becomes the command."""


class Children:
    """Starts processes, in a `with` statement; an error, a Ctrl-C, SIGTERM or SIGHUP within it stops them.

    A process is started in a session of its own. A Ctrl-C on the terminal therefore reaches this process alone, and each
    child receives one SIGTERM, on which a training saves its state. On Linux, children also receive that signal when this
    process is killed, or when the thread that started them ends: this thread must wait for them.

    Args:
        grace: Seconds between SIGTERM and SIGKILL; 0: SIGKILL at once.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._processes: list[subprocess.Popen] = []
        self._former: dict[signal.Signals, Any] = {}
        self._starting = threading.Lock()
        self._main_starts = False
        self._waiting: int | None = None
        self._closed = False

    def start(self, command: list[str], **settings: Any) -> subprocess.Popen:
        """Starts a process; `settings` are those of `subprocess.Popen`.

        Raises:
            RuntimeError: If the `with` statement has ended.
        """
        in_main = threading.current_thread() is threading.main_thread()
        if in_main:
            self._main_starts = True
        with self._starting:
            if self._closed:
                raise RuntimeError("stopped")
            process = subprocess.Popen(self._launched(command), start_new_session=True, **settings)
            self._processes.append(process)
        if in_main:
            self._main_starts = False
            if self._waiting is not None:
                _raise(self._waiting)
        return process

    def _launched(self, command: list[str]) -> list[str]:
        """Returns the command line that starts a command which ends with this process."""
        if sys.platform != "linux":
            return command
        number = signal.SIGTERM if self._grace else signal.SIGKILL
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(int(number)), *command]

    def __enter__(self) -> "Children":
        if threading.current_thread() is threading.main_thread():
            defaults = (signal.SIG_DFL, signal.default_int_handler)
            heard = [number for number in _STOPPING if signal.getsignal(number) in defaults]
            self._former = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Raises the exception that a signal stands for; while a process is being started, which must not be lost, later."""
        del frame
        if self._main_starts:
            self._waiting = number
        else:
            _raise(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self._starting:
                self._closed = True
        finally:
            try:
                self._stop()
            finally:
                for number, handler in self._former.items():
                    signal.signal(number, handler)

    def _stop(self) -> None:
        """Ends the processes that run; a second Ctrl-C kills them."""
        try:
            if self._grace and self._alive():
                for process in self._alive():
                    process.terminate()
                deadline = time.monotonic() + self._grace
                for process in self._alive():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(0, deadline - time.monotonic()))
        finally:
            for process in self._alive():
                process.kill()
                process.wait()

    def _alive(self) -> list[subprocess.Popen]:
        return [process for process in self._processes if process.poll() is None]


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
