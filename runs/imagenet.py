"""The file of a network's published weights, which Keras downloads into Keras' cache."""

import contextlib
import io
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from semppl.layers.encoders import attention_models
from semppl.layers.encoders.applications import APPLICATIONS
from semppl.layers.encoders.registry import application_of, attention_model_of

_SECONDS_OF_SILENCE = 20.0
"""How long a connection, or the whole download, may make no progress."""


class _Wanted(Exception):
    """Keras asks for a file; raised to stop Keras from also loading the file."""

    def __init__(self, name: str, origin: str, options: dict[str, Any]) -> None:
        super().__init__(name)
        self.name, self.origin, self.options = name, origin, options


def imagenet_file(encoder: str, *, size: int, flag: str) -> pathlib.Path:
    """Returns the path of a network's weights, downloaded if they are not in Keras' cache.

    Args:
        encoder: Name of a third-party encoder, "keras:…" or "kecam:…".
        size: Side of the pictures, in pixels.
        flag: Name of the flag in the error message.

    Raises:
        ValueError: If the file cannot be downloaded, or the download makes no progress for 20 seconds;
            the message names the file and the folder in which Keras looks for it.
    """
    wanted = _wanted(encoder, size)
    if wanted is None:
        raise ValueError(
            f"--{flag} must be a file with --encoder={encoder}, for which no weights are published. Received: imagenet"
        )
    cached = pathlib.Path.home() / ".keras" / str(wanted.options.get("cache_subdir", "datasets")) / wanted.name

    def download() -> str:
        tf.keras.utils.disable_interactive_logging()  # of this thread: Keras' own line and bar
        return str(tf.keras.utils.get_file(wanted.name, wanted.origin, **wanted.options))

    is_new = not cached.exists()
    if is_new:
        print(f"downloading the weights of {encoder} …", file=sys.stderr, flush=True)
    try:
        path = pathlib.Path(_watched(download, cached))
    except Exception as error:  # Keras raises `Exception` itself
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--{flag} must be a file, or imagenet where {wanted.origin} can be downloaded: without a network, put that file "
            f"at {cached}. Received: imagenet ({reason})"
        ) from error
    if is_new and path.exists():
        print(f"downloaded {path.stat().st_size / 1e6:.0f} MB: {path}", file=sys.stderr, flush=True)
    return path


def _wanted(encoder: str, size: int) -> _Wanted | None:
    """Lets the network's package ask for the file; returns what it asks for."""
    asked: list[_Wanted] = []

    def ask(name: str, origin: str, **options: Any) -> str:
        asked.append(_Wanted(name, origin, options))
        raise asked[-1]

    network = application_of(encoder)
    downloads = sys.modules[tf.keras.utils.get_file.__module__] if network else attention_models.downloads()
    with _replaced(downloads, "get_file", ask), contextlib.suppress(_Wanted):
        if network:
            APPLICATIONS[network](include_top=False, weights="imagenet")
        else:  # the package prints what went wrong, and continues with random weights
            with contextlib.redirect_stdout(io.StringIO()):
                attention_models.pretrained_model(str(attention_model_of(encoder)), size)
    return asked[0] if asked else None


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    former = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, former)


def _watched(download: Callable[[], str], path: pathlib.Path) -> str:
    """Calls `download` in a thread, because the time limit of sockets does not apply to looking up a host name."""
    answers: list[str | Exception] = []

    def work() -> None:
        try:
            answers.append(download())
        except Exception as error:
            answers.append(error)

    former = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_OF_SILENCE)
    try:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        _wait(thread, path)
    finally:
        socket.setdefaulttimeout(former)
    answer = answers[0] if answers else TimeoutError(f"no answer for {_SECONDS_OF_SILENCE:g} s")
    if isinstance(answer, Exception):
        raise answer
    return answer


def _wait(thread: threading.Thread, path: pathlib.Path) -> None:
    """Waits for a download to end, or for its file not to grow."""
    size, changed = 0, time.monotonic()
    while thread.is_alive() and time.monotonic() - changed < _SECONDS_OF_SILENCE:
        thread.join(0.1)
        now = path.stat().st_size if path.exists() else 0
        if now != size:
            size, changed = now, time.monotonic()
