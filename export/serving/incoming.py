"""What comes from a connection, before a deadline: a byte now and then does not keep it open for ever."""

import io
import socket
import time
from typing import Any

_LATE = "Not everything came in time"


class Incoming(io.RawIOBase):
    """Reads from a connection.

    Args:
        connection: that is read.
        silence: seconds after which one that says nothing is given up.
    """

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._connection = connection
        self._silence = silence
        self.allow(silence)

    def allow(self, seconds: float) -> None:
        """Sets the deadline of what is read from now on."""
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what is there, at most what the buffer holds; returns the number of bytes, 0 at the end.

        Raises:
            TimeoutError: if nothing comes in time; it says which time.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(_LATE)
        self._connection.settimeout(min(left, self._silence))
        try:
            return self._connection.recv_into(buffer)
        except TimeoutError as error:
            why = _LATE if left < self._silence else f"Nothing came for {self._silence:g} seconds"
            raise TimeoutError(why) from error
        finally:
            self._connection.settimeout(self._silence)  # which holds for what is sent, too
