"""Standard streams that any environment can have: closed, without a reader, or in an encoding that lacks characters."""

import errno
import io
import os
import sys
from typing import TextIO

_GONE = (errno.EPIPE, errno.EIO)
"""Errors of a stream whose reader or terminal is gone."""


class Output(io.TextIOWrapper):
    """A stream whose characters outside its encoding are escaped, and whose output is dropped once nobody reads it.

    A program thus ends its work, and a run is saved, after `| head -1` has read enough or a terminal was closed.
    """

    def write(self, text: str, /) -> int:
        """Writes text; returns its length."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Writes what is buffered."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)
            super().flush()

    def _drop(self, error: OSError) -> None:
        if error.errno not in _GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def make_lenient() -> None:
    """Replaces standard output and error by `Output`, and opens what the caller closed, as by `>&-`.

    A file that is opened later would take the number of a closed stream, and receive the stream's output.
    """
    closed = [number for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)) if stream is None]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout, sys.stderr = _lenient(sys.stdout, 1), _lenient(sys.stderr, 2)


def _lenient(stream: TextIO | None, number: int) -> Output:
    if stream is not None:
        stream.flush()
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    encoding = stream.encoding if stream else "utf-8"
    at_once = number == 2 or (stream is not None and stream.isatty())
    return Output(raw, encoding=encoding, errors="backslashreplace", line_buffering=at_once)
