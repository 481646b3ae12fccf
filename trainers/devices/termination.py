"""SIGTERM, Ctrl-C and a closed terminal: a run saves its state and ends; before its first step, the run ends at once."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL = 0.05
"""Seconds between looks at whether the main thread has ended."""


class Termination:
    """Listens for `SIGNALS`, in a `with` statement; a signal that the process ignores stays ignored, as under nohup.

    Python's own handlers wait while the main thread is inside TensorFlow, minutes in a long step or a compilation. So a
    thread listens, and ends the process if the main thread has not done so in time: as safe as SIGKILL, and polite. A
    second SIGTERM or Ctrl-C ends the process at once; a second SIGHUP does not, since a shell and the terminal both send one.

    Args:
        grace: Seconds that the main thread has to save and end.

    Attributes:
        signal: First signal that has come; None before.
        underway: Whether a step has ended, so that there is something to save; set by the run.
        saved: Step of the latest checkpoint, 0 if there is none, None if unknown; set by the run.
    """

    def __init__(self, *, grace: float = 8.0) -> None:
        self.grace = grace
        self.signal: signal.Signals | None = None
        self.underway = False
        self.saved: int | None = None
        self._saving = False
        self._ended = False
        self._former_handlers: dict[signal.Signals, object] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a process that the signal stopped, as a shell reports it: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + (self.signal or 0)

    def message(self) -> str:
        """Describes in one line which signal came, what is saved, and where the same command starts."""
        name = self.signal.name if self.signal else "request"
        what = {
            None: "the same command resumes from the last checkpoint, or starts again if there is none",
            0: "nothing saved yet; the same command starts again",
        }.get(self.saved, f"saved at step {self.saved}; the same command resumes from there")
        return f"stopped on {name}: {what}"

    def __enter__(self) -> "Termination":
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._former_handlers = {number: signal.getsignal(number) for number in heard}
        self.listen_again()
        self._former_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def listen_again(self) -> None:
        """Takes the signals back from TensorFlow, which silently installs a handler where several workers meet."""
        for number in self._former_handlers:
            signal.signal(number, lambda *_: None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        signal.set_wakeup_fd(self._former_fd)
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._former_handlers = {}
        os.close(self._write)  # which ends the thread

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Lets a save end, however long it takes."""
        self._saving = True
        try:
            yield
        finally:
            self._saving = False

    def _listen(self) -> None:
        while received := os.read(self._read, 1):
            if received[0] in SIGNALS:
                self.signal = signal.Signals(received[0])
                if self.underway and self._ends_in_time():
                    break
                with contextlib.suppress(OSError, ValueError):  # nobody reads, as after SIGHUP
                    print(f"\n{self.message()}" if sys.stdout.isatty() else self.message(), flush=True)
                os._exit(self.exit_code)
        os.close(self._read)

    def _ends_in_time(self) -> bool:
        """Waits for the main thread; returns whether it ended before the deadline and before a second signal."""
        deadline = time.monotonic() + self.grace
        while not self._ended and (self._saving or time.monotonic() < deadline):
            if self._comes_again():
                return False
        return self._ended

    def _comes_again(self) -> bool:
        """Waits a moment; returns whether another SIGTERM or Ctrl-C came meanwhile."""
        if not select.select([self._read], [], [], _POLL)[0]:
            return False
        return os.read(self._read, 1) in (bytes([signal.SIGTERM]), bytes([signal.SIGINT]))
