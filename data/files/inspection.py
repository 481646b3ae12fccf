"""Looks at every picture file once, before training: which can be used, and how large they are."""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import sys
from collections import Counter
from typing import Protocol

import numpy as np

from semppl.data.files import array_cache
from semppl.data.files.decoding import Decoding, Reason, Unusable, decode_file, decode_mask
from semppl.data.files.picture_list import PictureList

_VERSION = 2  # of what is kept
_REPORT_EVERY = 5000


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What is known of every picture file of a folder.

    Attributes:
        reasons: `[n]` strings, why a file is not used; empty where it is.
        sizes: `[n, 2]` int32, height and width in pixels, upright.
        plain: `[n]` bool, whether TensorFlow decodes it right.
        truncated: `[n]` bool, whether it is used although it ends too early.
        digests: `[n, 16]` uint8, of the bytes of the file and its mask.
    """

    reasons: np.ndarray
    sizes: np.ndarray
    plain: np.ndarray
    truncated: np.ndarray
    digests: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """`[n]` bool."""
        return self.reasons == ""


@dataclasses.dataclass
class _Look:
    """What one look at one file tells."""

    reasons: str = ""
    sizes: tuple[int, int] = (0, 0)
    plain: bool = False
    truncated: bool = False
    digests: bytes = bytes(16)
    prepared: bytes = b""


class Sink(Protocol):
    """Takes the usable pictures of a folder while they are looked at."""

    def prepare(self, path: str, pixels: np.ndarray, mask: np.ndarray | None) -> bytes:
        """Makes of a picture `[H, W, C]`, and its mask `[H, W, 1]`, what is to be added; many threads call it at once."""

    def add(self, prepared: bytes) -> None:
        """Adds a picture, in the order of the paths."""


def place_of(pictures: PictureList, decoding: Decoding, cache_dir: str) -> pathlib.Path:
    """Returns where the inspection of a folder is kept; without `cache_dir` in the user's cache folder."""
    return pathlib.Path(cache_dir or array_cache.user_folder()) / f"inspection-{_state(pictures, decoding)}.npz"


def inspect_pictures(
    pictures: PictureList, decoding: Decoding, *, cache_dir: str = "", sink: Sink | None = None
) -> Inspection:
    """Decodes every picture of a folder, in parallel; what comes out is kept for as long as files keep their sizes and times.

    Args:
        pictures: Picture files to decode.
        decoding: how; the same file may be of use in one way and not in another.
        cache_dir: where to keep it; empty: in the user's cache folder.
        sink: takes the pictures too, if they are decoded now; not where truncated ones are kept, which come out of turn.
    """
    place = place_of(pictures, decoding, cache_dir)
    names = [field.name for field in dataclasses.fields(Inspection)]
    cached = array_cache.load(place, names)
    if cached is not None:
        return Inspection(**cached)
    looks = _look_at_all(pictures, decoding, None if decoding.keep_truncated else sink)
    inspection = Inspection(**_columns(looks))
    if not array_cache.save(place, {name: getattr(inspection, name) for name in names}):
        _say(f"not kept for the next time: {place.parent} cannot be written")
    return inspection


def require_few_bad(pictures: PictureList, inspection: Inspection, limit: float, *, flag: str = "data") -> None:
    """Prints every reason for which files are skipped to stderr.

    Args:
        pictures: Picture files to decode.
        inspection: Result of their inspection.
        limit: share of the pictures that may be skipped, in 0..1; a folder that cannot be opened counts as one.
        flag: that names the folder.

    Raises:
        ValueError: if more are skipped, or nothing is left.
    """
    findings = summary(pictures, inspection)
    for line in findings:
        _say(f"{pictures.place}: {line}")
    if not inspection.usable.any():
        raise ValueError(
            f"--{flag} must hold a picture that can be used. Received: {pictures.place}: {'; '.join(findings)}"
        )
    lost, all_of_them = count_lost(pictures, inspection)
    if lost > limit * all_of_them:
        raise ValueError(
            f"--max_bad_fraction must be at least {lost / all_of_them:.2g} to go on without {lost} of the "
            f"{all_of_them} pictures in {pictures.place} ({'; '.join(findings)}). Received: {limit}"
        )


def count_lost(pictures: PictureList, inspection: Inspection) -> tuple[int, int]:
    """Counts what a folder's pictures lose, and of how many; what cannot be opened, a folder too, counts as one of them."""
    unreadable = len(pictures.unreadable)
    return int(np.count_nonzero(~inspection.usable)) + unreadable, len(pictures.paths) + unreadable


def summary(pictures: PictureList, inspection: Inspection) -> list[str]:
    """Returns a line per kind of problem: how many, and the first of them by name."""
    lines = []
    kinds = np.array([reason.partition(" (")[0] for reason in inspection.reasons.tolist()], str)
    for kind, count in sorted(Counter(kinds[~inspection.usable].tolist()).items()):
        first = int(np.flatnonzero(kinds == kind)[0])
        lines.append(f"{count} skipped, {inspection.reasons[first]}: {shown(pictures.paths[first], count)}")
    if inspection.truncated.any():
        first = int(np.flatnonzero(inspection.truncated)[0])
        lines.append(
            f"{inspection.truncated.sum()} used as far as they go, truncated: {shown(pictures.paths[first], 2)}"
        )
    for problem, what in (
        ("in the CSV without a file", pictures.rows_without_file),
        ("that cannot be opened", pictures.unreadable),
    ):
        if what:
            lines.append(f"{len(what)} {problem}: {shown(what[0], len(what))}")
    return lines


def shown(first: str, count: int = 1) -> str:
    """Returns a path that any terminal can show, with an ellipsis where it stands for several."""
    name = first.encode("utf-8", "backslashreplace").decode()
    return f"{name} …" if count > 1 else name


def _state(pictures: PictureList, decoding: Decoding) -> str:
    """Identifies what would be looked at: the files, by name, size and time, and how."""
    digest = hashlib.blake2b(digest_size=8)
    looked = dataclasses.replace(decoding, shrink=0)
    digest.update(f"{_VERSION} {os.path.abspath(pictures.place)} {looked}".encode("utf-8", "surrogateescape"))
    digest.update(pictures.state().encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _look_at_all(pictures: PictureList, decoding: Decoding, sink: Sink | None) -> list[_Look]:
    """Looks at files in parallel; then once more, one by one, at those that end too early: Pillow's leave is for all threads."""
    _say(f"looking at {len(pictures.paths)} pictures in {pictures.place}, once")
    looks = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for look in pool.map(lambda number: _look(pictures, number, decoding, sink=sink), range(len(pictures.paths))):
            looks.append(look)
            if sink is not None and not look.reasons:
                sink.add(look.prepared)
                look.prepared = b""
            if len(looks) % _REPORT_EVERY == 0:
                _say(f"{len(looks)} of {len(pictures.paths)}")
    if decoding.keep_truncated:
        for number, look in enumerate(looks):
            if look.reasons == Reason.TRUNCATED:
                looks[number] = _look(pictures, number, decoding, truncated=True)
    return looks


def _look(
    pictures: PictureList, number: int, decoding: Decoding, *, truncated: bool = False, sink: Sink | None = None
) -> _Look:
    look, row = _Look(truncated=truncated), pictures.rows[number]
    try:
        data = pictures.read(number)
        look.digests = digest(data)
        pixels, look.plain = decode_file(data, dataclasses.replace(decoding, shrink=0), truncated=truncated)
        look.sizes = (pixels.shape[0], pixels.shape[1])
        mask = None
        if row.mask:
            mask_data, mask = _mask(pictures, number, look.sizes, decoding)
            look.digests = digest(data, mask_data)
        if sink is not None:
            look.prepared = sink.prepare(pictures.paths[number], pixels, mask)
    except Unusable as error:
        reason = f"{error.reason} ({error.detail})" if error.reason == Reason.MASK_SIZE else str(error.reason)
        look.reasons, look.truncated = reason, False
    except OSError as error:
        look.reasons, look.truncated = f"{Reason.UNREADABLE.value} ({error.strerror})", False
    return look


def digest(data: bytes, mask: bytes = b"") -> bytes:
    """Returns 16 bytes that tell a picture file, and its mask, from others."""
    return hashlib.blake2b(data + mask, digest_size=16).digest()


def _mask(pictures: PictureList, number: int, size: tuple[int, int], decoding: Decoding) -> tuple[bytes, np.ndarray]:
    """Reads a mask, the file and `[H, W, 1]`, and makes sure that it is one, of its picture's size."""
    try:
        data = pictures.mask(number)
        mask = decode_mask(data, dataclasses.replace(decoding, shrink=0))
    except (OSError, Unusable) as error:
        raise Unusable(Reason.MASK, str(error)) from error
    if mask.shape[:2] != size:
        sides = [f"{height}×{width}" for height, width in (mask.shape[:2], size)]
        raise Unusable(Reason.MASK_SIZE, f"{sides[0]} for a picture of {sides[1]}")
    return data, mask


def _columns(looks: list[_Look]) -> dict[str, np.ndarray]:
    return {
        "reasons": np.array([look.reasons for look in looks], str),
        "sizes": np.array([look.sizes for look in looks], np.int32),
        "plain": np.array([look.plain for look in looks], bool),
        "truncated": np.array([look.truncated for look in looks], bool),
        "digests": np.frombuffer(b"".join(look.digests for look in looks), np.uint8).reshape(-1, 16),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
