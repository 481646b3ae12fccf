"""Inspection of picture files before training: which files can be used, and their sizes. The result is cached."""

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import hashlib
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from semppl.configs.wording import counted
from semppl.data.files import array_cache
from semppl.data.files.decoding import Decoding, Reason, Unusable, decode_file, decode_mask, has_16_bits
from semppl.data.files.picture_list import PictureList

_VERSION = 3  # version of the cached inspection
_REPORT_EVERY = 5000
_DIMMEST = 16  # of 255: the largest of 12 bits, 4095, where 65535 is white


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The result of an inspection, one row per picture file.

    Attributes:
        reasons: `[n]` strings, the reason for which a file is skipped; empty for usable files.
        sizes: `[n, 2]` int32, height and width in pixels after EXIF rotation.
        plain: `[n]` bool, whether TensorFlow decodes the file correctly.
        truncated: `[n]` bool, whether the file is truncated and used nevertheless.
        dim: `[n]` bool, whether the file has 16 bits of which at most the lower 12 are used.
        digests: `[n, 16]` uint8, digests of the bytes of the file and its mask.
    """

    reasons: np.ndarray
    sizes: np.ndarray
    plain: np.ndarray
    truncated: np.ndarray
    dim: np.ndarray
    digests: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """`[n]` bool, whether a file can be used."""
        return self.reasons == ""


@dataclasses.dataclass
class _Look:
    """The result of the inspection of one file; fields as in `Inspection`."""

    reasons: str = ""
    sizes: tuple[int, int] = (0, 0)
    plain: bool = False
    truncated: bool = False
    dim: bool = False
    digests: bytes = bytes(16)
    prepared: bytes = b""


class Sink(Protocol):
    """Receiver of the usable pictures during an inspection."""

    def prepare(self, path: str, pixels: np.ndarray, mask: np.ndarray | None) -> bytes:
        """Serialises a picture `[H, W, C]` and its mask `[H, W, 1]`, both uint8; called from several threads."""

    def add(self, prepared: bytes) -> None:
        """Adds a serialised picture; called in the order of the paths."""


def place_of(pictures: PictureList, decoding: Decoding, cache_dir: str) -> pathlib.Path:
    """Returns the path of the cached inspection: in `cache_dir`, or in the user's cache folder if that is empty."""
    return pathlib.Path(cache_dir or array_cache.user_folder()) / f"inspection-{_state(pictures, decoding)}.npz"


def inspect_pictures(
    pictures: PictureList, decoding: Decoding, *, cache_dir: str = "", sink: Sink | None = None
) -> Inspection:
    """Decodes every picture in parallel, and caches the result for as long as the files keep their sizes and modification times.

    Args:
        pictures: Picture files to decode.
        decoding: Settings of the decoding, on which it depends whether a file is usable.
        cache_dir: Folder of the cached result; empty: the user's cache folder.
        sink: Receiver of the decoded pictures; unused if the result is cached, or if `decoding.keep_truncated`, because truncated
            pictures are decoded out of order.
    """
    place = place_of(pictures, decoding, cache_dir)
    names = [field.name for field in dataclasses.fields(Inspection)]
    cached = array_cache.load(place, names)
    if cached is not None:
        return Inspection(**cached)
    looks = _look_at_all(pictures, decoding, None if decoding.keep_truncated else sink)
    inspection = Inspection(**_columns(looks))
    if not array_cache.save(place, {name: getattr(inspection, name) for name in names}):
        _say(f"the inspection is not cached: {place.parent} cannot be written")
    return inspection


def require_few_bad(pictures: PictureList, inspection: Inspection, limit: float, *, flag: str = "data") -> None:
    """Prints the reasons for which files are skipped to stderr, and raises if too many are.

    Args:
        pictures: Inspected picture files.
        inspection: Result of the inspection.
        limit: Largest share of the pictures that may be skipped, in 0..1; a folder that cannot be opened counts as one picture.
        flag: Name of the flag that names the pictures, for errors.

    Raises:
        ValueError: If more are skipped, or no picture is usable.
    """
    findings = summary(pictures, inspection)
    if not _UNSAID.get():
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
            f"{counted(all_of_them, 'picture')} in {pictures.place} ({'; '.join(findings)}). Received: {limit}"
        )


@contextlib.contextmanager
def findings_unsaid() -> Iterator[None]:
    """Keeps `require_few_bad` from printing what it finds within a `with` block, for a caller that reports findings itself."""
    former = _UNSAID.set(True)
    try:
        yield
    finally:
        _UNSAID.reset(former)


_UNSAID = contextvars.ContextVar("_UNSAID", default=False)


def count_lost(pictures: PictureList, inspection: Inspection) -> tuple[int, int]:
    """Returns the numbers of unusable pictures and of all pictures; a folder that cannot be opened counts as one in both."""
    unreadable = len(pictures.unreadable)
    return int(np.count_nonzero(~inspection.usable)) + unreadable, len(pictures.paths) + unreadable


def summary(pictures: PictureList, inspection: Inspection) -> list[str]:
    """Returns a line per kind of problem: the number of files, and the name of the first; then the list's remarks."""
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
    if inspection.dim.any():
        count, first = int(inspection.dim.sum()), int(np.flatnonzero(inspection.dim)[0])
        lines.append(
            f"{count} of 16 bits that use at most the lower 12, so that at most {_DIMMEST + 1} grey levels of 256 "
            f"are left: multiply their values by 16: {shown(pictures.paths[first], count)}"
        )
    for problem, what in (
        ("in the CSV without a file", pictures.rows_without_file),
        ("that cannot be opened", pictures.unreadable),
    ):
        if what:
            lines.append(f"{len(what)} {problem}: {shown(what[0], len(what))}")
    return [*lines, *pictures.remarks]


def shown(first: str, count: int = 1) -> str:
    """Returns a path in characters that any terminal shows, with an ellipsis if the path is the first of several."""
    name = first.encode("utf-8", "backslashreplace").decode()
    return f"{name} …" if count > 1 else name


def _state(pictures: PictureList, decoding: Decoding) -> str:
    """Returns a digest of the settings and of the files' names, sizes and modification times."""
    digest = hashlib.blake2b(digest_size=8)
    looked = dataclasses.replace(decoding, shrink=0)
    digest.update(f"{_VERSION} {os.path.abspath(pictures.place)} {looked}".encode("utf-8", "surrogateescape"))
    digest.update(pictures.state().encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _look_at_all(pictures: PictureList, decoding: Decoding, sink: Sink | None) -> list[_Look]:
    """Inspects files in parallel, then truncated files again one by one: Pillow's switch for these holds for all threads."""
    _say(f"inspecting {counted(len(pictures.paths), 'picture')} in {pictures.place}, once")
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
        look.dim = not look.plain and 0 < int(pixels.max()) <= _DIMMEST and has_16_bits(data)
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
    """Returns a 16-byte digest of a picture file and its mask."""
    return hashlib.blake2b(data + mask, digest_size=16).digest()


def _mask(pictures: PictureList, number: int, size: tuple[int, int], decoding: Decoding) -> tuple[bytes, np.ndarray]:
    """Reads a mask file, decodes it to `[H, W, 1]` uint8, and checks that it has its picture's size."""
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
        "dim": np.array([look.dim for look in looks], bool),
        "digests": np.frombuffer(b"".join(look.digests for look in looks), np.uint8).reshape(-1, 16),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
