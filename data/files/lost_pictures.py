"""The error for pictures that are deleted, changed or damaged during a run."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf


class PictureLost(OSError):
    """A picture was deleted, changed or damaged after its inspection; the message names the picture."""


@contextlib.contextmanager
def naming_lost_pictures() -> Iterator[None]:
    """Raises the `PictureLost` that TensorFlow has wrapped into an error of its own."""
    try:
        yield
    except tf.errors.OpError as error:
        lost = re.search(rf"{PictureLost.__name__}: (.*)", error.message)
        if lost is not None:
            raise PictureLost(lost[1]) from None
        undecoded = re.search(r"\b(Decode(?:Jpeg|Image|Png)|ParseExample)", error.message)
        if undecoded is None:
            raise
        raise PictureLost(
            f"Pictures and --cache_dir must stay as they are while they are read. Received: one that {undecoded[1]} refuses; start "
            "again without the damaged files"
        ) from error
