"""Retries with exponential backoff, and the errors of clients."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Unavailable(ConnectionError):
    """Raised if the server does not answer, or is temporarily unavailable."""


class Refused(ValueError):
    """Raised if the server refuses a request."""


class NoModelServer(ValueError):
    """Raised if the answer is not that of a model server."""


Waits = Callable[[Unavailable], None]
"""Function of the error of the first attempt, called before the first pause."""


def wait_silently(error: Unavailable) -> None:
    """Does nothing: a `Waits` for programs that say nothing of pauses."""


def with_retries(
    ask: Callable[[], _T],
    *,
    attempts: int,
    waits: Waits = wait_silently,
    sleep: Callable[[float], None] = time.sleep,
) -> _T:
    """Calls `ask` until it succeeds.

    Args:
        ask: Function that raises `Unavailable` if a retry may succeed.
        attempts: Maximum number of attempts; at least 1.
        waits: Function that is called once, before the first pause, with the error of the first attempt.
        sleep: Function that waits for a number of seconds.

    Raises:
        Unavailable: if the last attempt fails.
    """
    pause = _FIRST_PAUSE
    for attempt in range(attempts - 1):
        try:
            return ask()
        except Unavailable as error:
            if attempt == 0:
                waits(error)
            sleep(pause * random.uniform(0.5, 1))  # keeps clients from retrying simultaneously
            pause = min(2 * pause, _LONGEST_PAUSE)
    return ask()
