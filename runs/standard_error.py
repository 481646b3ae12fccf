"""Standard error, below Python: what libraries in C++ write there."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def silent_standard_error() -> Iterator[None]:
    """Discards what libraries in C++ write on standard error."""
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
