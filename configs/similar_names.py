"""Names of classes that are nearly the same, and so are probably meant for one class."""

import itertools
import re
import unicodedata
from collections.abc import Sequence

_SHORT = 5  # letters below which a difference of one is a difference


def is_similar(name: str, other: str) -> bool:
    """Returns whether two names are nearly the same.

    Names are nearly the same if they differ in case, blanks, punctuation, accents or a plural s alone, or, from five letters, by
    one letter that is inserted, left out, replaced, or exchanged with the next one; names that differ in a digit are different.
    """
    return _is_similar(_folded(name), _folded(other))


def similar_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the pairs of different names that are nearly the same; see `is_similar`."""
    folded = [(name, _folded(name)) for name in dict.fromkeys(names)]
    pairs = itertools.combinations(folded, 2)
    return [(name, other) for (name, first), (other, second) in pairs if _is_similar(first, second)]


def _is_similar(first: str, second: str) -> bool:
    if first == second:
        return bool(first)
    if abs(len(first) - len(second)) > len("es"):
        return False
    shorter, longer = sorted((first, second), key=len)
    if len(shorter) > 2 and longer in (shorter + "s", shorter + "es"):
        return True
    if len(shorter) < _SHORT or not _by_one_letter(first, second):
        return False
    return re.findall(r"\d+", first) == re.findall(r"\d+", second)


def _by_one_letter(first: str, second: str) -> bool:
    """Returns whether one letter is inserted, left out, replaced, or exchanged with the next one."""
    start = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    rest, remainder = first[start:], second[start:]
    exchanged = rest[1:2] + rest[:1] + rest[2:]
    return remainder in (rest[1:], exchanged) or rest == remainder[1:] or rest[1:] == remainder[1:]


def _folded(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if letter.isalnum())
