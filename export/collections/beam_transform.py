"""Embedding as a transform of an Apache Beam pipeline."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils import shared

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import Span, open_collections
from semppl.export.collections.embeddings import fingerprint
from semppl.export.collections.rows import Answerer, make_table


class _Opened:
    """The model and the collections, which each worker opens once."""

    def __init__(self, model: str, settings: dict[str, Any], expected: str) -> None:
        self.collections = open_collections(Hyperparameters.from_dict(settings))
        if fingerprint(self.collections) != expected:
            raise ValueError("--data must stay as it is, and look the same from every worker. Received: other pictures")
        self.answer = Answerer(model)


class Embed(beam.DoFn):
    """Maps spans of pictures to tables with the rows of `semppl.export.embed`.

    Args:
        model: Folder of an exported model, as workers see it.
        settings: Hyper-parameters of its run, with `data` and the settings that say how to read it.
        expected: Fingerprint of the pictures, from `embeddings.fingerprint`.
    """

    def __init__(self, model: str, settings: dict[str, Any], expected: str) -> None:
        self._arguments = (model, settings, expected)
        self._shared = shared.Shared()  # between the threads of a worker

    def setup(self) -> None:
        """Opens the model and the data."""
        self._opened = self._shared.acquire(lambda: _Opened(*self._arguments))

    def process(self, span: Span) -> Iterator[pa.Table]:
        """Embeds the pictures of a span."""
        collection, positions = self._opened.collections[span.collection], range(span.first, span.end)
        answers = self._opened.answer(collection.read(positions))
        yield make_table(
            [span.offset + position for position in positions],
            collection.paths[span.first : span.end],
            collection.truths[span.first : span.end],
            answers,
        )
