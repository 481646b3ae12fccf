"""SIGTERM: a run saves what it has and ends well; where nothing is there to save, it ends at once."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType


class Termination:
    """Listens for SIGTERM, in a `with` statement.

    Python's own handlers wait while the main thread is inside TensorFlow, minutes in a long step or a compilation. So a
    thread listens, and ends the process if the main thread has not done so in time: as safe as SIGKILL, and polite.

    Args:
        grace: Seconds that the main thread has to save and end.

    Attributes:
        asked: Whether SIGTERM has come.
        underway: Whether a step has ended, so that there is something to save; set by the run.
    """

    def __init__(self, *, grace: float = 8.0) -> None:
        self.grace = grace
        self.asked = False
        self.underway = False
        self._saving = False
        self._ended = False
        self._listening = False

    def __enter__(self) -> "Termination":
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._former_handler = signal.signal(signal.SIGTERM, lambda *_: None)
        self._former_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        self._listening = True
        return self

    def listen_again(self) -> None:
        """Takes the signal back from TensorFlow, which silently installs its own handler where several workers meet."""
        if self._listening:
            signal.signal(signal.SIGTERM, lambda *_: None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended, self._listening = True, False
        signal.set_wakeup_fd(self._former_fd)
        signal.signal(signal.SIGTERM, self._former_handler)
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
        while signals := os.read(self._read, 1):
            if signals[0] == signal.SIGTERM:
                self.asked = True
                if self.underway and self._ends_in_time():
                    break
                print(f"\n{CUT_OFF}" if sys.stdout.isatty() else CUT_OFF, flush=True)
                os._exit(0)
        os.close(self._read)

    def _ends_in_time(self) -> bool:
        deadline = time.monotonic() + self.grace
        while not self._ended and (self._saving or time.monotonic() < deadline):
            time.sleep(0.05)
        return self._ended


STOPPED = "stopped on SIGTERM; the same command goes on from here"
CUT_OFF = "stopped on SIGTERM; the same command goes on from the last checkpoint, or begins where there is none"
