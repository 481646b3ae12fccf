"""Reading from a connection with a deadline, so that a slow client cannot keep it open for ever."""

import io
import socket
import time
from typing import Any

_LATE = "Not everything came in time"


class Incoming(io.RawIOBase):
    """A stream that reads from a connection until a deadline.

    Args:
        connection: Socket to read from.
        silence: Time limit of a single read, in seconds.
    """

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._connection = connection
        self._silence = silence
        self.allow(silence)

    def allow(self, seconds: float) -> None:
        """Sets the deadline of all reads to `seconds` from now."""
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        """Returns true: the stream can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads available bytes into the buffer; returns their number, 0 at the end of the stream.

        Raises:
            TimeoutError: if no byte arrives in time; the message names the limit.
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
            self._connection.settimeout(self._silence)  # applies to sending too
