"""Standard streams that any environment can have: closed, without a reader, or in an encoding that lacks characters."""

import errno
import io
import os
import sys

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
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8")
        if number:
            stream.flush()
            raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
            at_once = stream.line_buffering or number == 2
            stream = Output(raw, encoding=stream.encoding, errors="backslashreplace", line_buffering=at_once)
        setattr(sys, name, stream)
