"""Asks again where that may help, after a pause that grows."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Unavailable(ConnectionError):
    """The server did not answer, or said that it might later."""


class Refused(ValueError):
    """The server said that it will not answer such a request."""


class NoModelServer(ValueError):
    """What answered is no model server."""


def with_retries(ask: Callable[[], _T], *, attempts: int, sleep: Callable[[float], None] = time.sleep) -> _T:
    """Calls `ask` until it answers.

    Args:
        ask: raises Unavailable where asking again may help.
        attempts: at most, 1 or more.
        sleep: takes seconds.

    Raises:
        Unavailable: if the last attempt failed too.
    """
    pause = _FIRST_PAUSE
    for _ in range(attempts - 1):
        try:
            return ask()
        except Unavailable:
            sleep(pause * random.uniform(0.5, 1))  # not all clients at the same instant
            pause = min(2 * pause, _LONGEST_PAUSE)
    return ask()
