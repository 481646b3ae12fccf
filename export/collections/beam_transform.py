"""Embedding as a step of an Apache Beam pipeline."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils import shared

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import open_collections
from semppl.export.collections.embeddings import fingerprint
from semppl.export.collections.rows import Answerer, make_table

UNREADABLE = "unreadable"
"""Beam's counter of the pictures that could not be read; a bundle that is tried again may count twice."""


class Span(NamedTuple):
    """Pictures that are embedded at a time.

    Attributes:
        collection: its number.
        first: number, in the collection, of the first of them.
        last: of the one after the last of them.
        offset: id of the collection's first picture.
    """

    collection: int
    first: int
    last: int
    offset: int


class _Opened:
    """What a worker opens once."""

    def __init__(self, model: str, settings: dict[str, Any], expected: str) -> None:
        self.collections = open_collections(Hyperparameters.from_dict(settings))
        if fingerprint(self.collections) != expected:
            raise ValueError("--data must stay as it is, and look the same from every worker. Received: other pictures")
        self.answer = Answerer(model)


class Embed(beam.DoFn):
    """Turns spans into tables of rows, as `semppl.export.embed` writes them.

    Args:
        model: folder of an exported model, as workers see it.
        settings: of its run, with what is read and how.
        expected: fingerprint of the pictures.
    """

    def __init__(self, model: str, settings: dict[str, Any], expected: str) -> None:
        self._arguments = (model, settings, expected)
        self._shared = shared.Shared()  # by the threads of a worker
        self._unreadable = Metrics.counter("semppl", UNREADABLE)

    def setup(self) -> None:
        """Opens the model and the data."""
        self._opened = self._shared.acquire(lambda: _Opened(*self._arguments))

    def process(self, span: Span) -> Iterator[pa.Table]:
        """Embeds the pictures of a span."""
        collection, numbers = self._opened.collections[span.collection], range(span.first, span.last)
        answers = self._opened.answer(collection.read(numbers))
        self._unreadable.inc(int(np.count_nonzero(~answers["valid"])))
        yield make_table(
            [span.offset + number for number in numbers],
            collection.paths[span.first : span.last],
            collection.truths[span.first : span.last],
            answers,
        )
