"""Pictures that are gone or damaged when they are needed: one line that names them, through all of TensorFlow."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf


class PictureLost(OSError):
    """A picture that could be used when it was looked at, and is not there, or not the same, when it is needed."""


@contextlib.contextmanager
def naming_lost_pictures() -> Iterator[None]:
    """Raises `PictureLost`, in one line, in place of what TensorFlow makes of it between the reader and the caller."""
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
