"""Servable models: named signatures from pictures, images or embeddings to embeddings and answers."""

import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from semppl.export.memory.labelled_memory import LabelledMemory, mask_invalid
from semppl.export.memory.ood_score import OodScore
from semppl.export.model.embedder import Embedder, is_finite
from semppl.export.model.reusable import Reusable
from semppl.layers.networks import unit_norm

Signatures = dict[str, tf.types.experimental.ConcreteFunction]

_ENCODED = tf.TensorSpec([None], tf.string, name="bytes")
_DEFAULT_ANSWER = ("label", "class_name", "probability", "abstain", "ood")


class Servable(Reusable):
    """A model that embeds pictures.

    Args:
        embedder: Embedder to serve; its weights are frozen.
        assets: Files to save with the model.
        trained: Embedder with the trained weights as variables, for fine-tuning; None for a model that cannot be fine-tuned.
    """

    def __init__(
        self, embedder: Embedder, assets: Sequence[pathlib.Path] = (), *, trained: Embedder | None = None
    ) -> None:
        embedder.freeze()
        super().__init__(trained or embedder, name="servable")
        self._embedder = embedder
        self.files = [tf.saved_model.Asset(str(path)) for path in assets]

    def signatures(self) -> Signatures:
        """Traces the signatures, each with a free batch size; returns them by name."""
        images = tf.TensorSpec([None, None, None, self._embedder.channels], tf.float32, name="images")
        embed_bytes = _traced(self.embed_bytes, _ENCODED)
        return {
            "serving_default": embed_bytes,
            "embed_bytes": embed_bytes,
            "embed_images": _traced(self.embed_images, images),
        }

    def embed_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds images `[B, H, W, C]` in 0..1; returns embedding, unit-norm `[B, D]`, and valid, bool `[B]`."""
        return self._embedded(*self._embedder.read_images(images))

    def embed_bytes(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds `[B]` JPEG, PNG or BMP files of any size; returns embedding, unit-norm `[B, D]`, and valid, bool `[B]`."""
        return self._embedded(*self._embedder.read_bytes(encoded))

    def _embedded(self, prepared: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        return mask_invalid({"embedding": self._embedder.embed(prepared)}, valid) | {"valid": valid}


class AnsweringServable(Servable):
    """A model that embeds pictures and classifies them with a labelled memory.

    Args:
        embedder: Embedder to serve; its weights are frozen.
        memory: Memory of labelled images.
        ood_score: Out-of-distribution score.
        num_neighbours: Number of remembered images that the signature `neighbours` returns; at least 1.
        assets: Files to save with the model.
        trained: Embedder with the trained weights as variables, for fine-tuning; None for a model that cannot be fine-tuned.

    Raises:
        ValueError: if `num_neighbours` is not positive.
    """

    def __init__(
        self,
        embedder: Embedder,
        memory: LabelledMemory,
        ood_score: OodScore,
        *,
        num_neighbours: int,
        assets: Sequence[pathlib.Path] = (),
        trained: Embedder | None = None,
    ) -> None:
        super().__init__(embedder, assets, trained=trained)
        if num_neighbours < 1:
            raise ValueError(f"--num_neighbours must be 1 or more. Received: {num_neighbours}")
        self.memory = memory
        self.ood_score = ood_score
        self.num_neighbours = num_neighbours

    def signatures(self) -> Signatures:
        """Traces the signatures, each with a free batch size; returns them by name."""
        embedding = tf.TensorSpec([None, self._embedder.width], tf.float32, name="embedding")
        return super().signatures() | {
            "serving_default": _traced(self.answer, _ENCODED),
            "classify_embeddings": _traced(self.classify_embeddings, embedding),
            "neighbours": _traced(self.neighbours, embedding),
            "ood": _traced(self.ood, _ENCODED),
        }

    def answer(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies `[B]` files; returns the outputs of `_DEFAULT_ANSWER`, embedding and valid."""
        prepared, valid = self._embedder.read_bytes(encoded)
        features = self._embedder.features(prepared)
        embedding = self._embedder.embed_features(features)
        everything = self.memory.classify(embedding) | self.ood_score.percentile(features)
        answer = {name: everything[name] for name in _DEFAULT_ANSWER}
        return mask_invalid(answer | {"embedding": embedding}, valid) | {"valid": valid}

    def classify_embeddings(self, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies embeddings `[B, D]`, unit-norm or not; see `LabelledMemory.classify`."""
        return self.memory.classify(_directions(embedding))

    def neighbours(self, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Finds the neighbours of embeddings `[B, D]`, unit-norm or not; see `LabelledMemory.neighbours`."""
        return self.memory.neighbours(_directions(embedding), k=self.num_neighbours)

    def ood(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores `[B]` files as in `OodScore.percentile`; returns valid, bool `[B]`, too."""
        prepared, valid = self._embedder.read_bytes(encoded)
        return mask_invalid(self.ood_score.percentile(self._embedder.features(prepared)), valid) | {"valid": valid}


def _directions(embedding: tf.Tensor) -> tf.Tensor:
    """Normalises the rows of `[B, D]`; a row of zeros, or containing NaN or Inf, becomes zeros."""
    has_direction = is_finite(tf.reduce_sum(tf.abs(embedding), axis=1, keepdims=True))
    return unit_norm(tf.where(has_direction, embedding, 0.0))


def _traced(
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]], spec: tf.TensorSpec
) -> tf.types.experimental.ConcreteFunction:
    """Traces a signature; a `tf.function` as an attribute would be saved, and traced, a second time."""
    return tf.function(function, autograph=False).get_concrete_function(spec)
