"""What is served: named functions from pictures, or embeddings, to embeddings and answers."""

import pathlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from semppl.export.memory.labelled_memory import LabelledMemory, mask_invalid
from semppl.export.memory.ood_score import Strangeness
from semppl.export.model.embedder import Embedder, is_finite
from semppl.export.model.reusable import Reusable
from semppl.layers.networks import unit_norm

Signatures = dict[str, tf.types.experimental.ConcreteFunction]

_ENCODED = tf.TensorSpec([None], tf.string, name="bytes")
_DEFAULT_ANSWER = ("label", "class_name", "probability", "abstain", "ood")


class Servable(Reusable):
    """Embeds pictures.

    Args:
        embedder: from pictures to embeddings; its weights are frozen.
        assets: files to save with the model.
        trained: the same with weights that are variables, as they were trained, to be fine-tuned; None: there are no variables.
    """

    def __init__(
        self, embedder: Embedder, assets: Sequence[pathlib.Path] = (), *, trained: Embedder | None = None
    ) -> None:
        embedder.freeze()
        super().__init__(trained or embedder, name="servable")
        self._embedder = embedder
        self.files = [tf.saved_model.Asset(str(path)) for path in assets]

    def signatures(self) -> Signatures:
        """Returns the named signatures, each with a free batch size."""
        images = tf.TensorSpec([None, None, None, self._embedder.channels], tf.float32, name="images")
        embed_bytes = _traced(self.embed_bytes, _ENCODED)
        return {
            "serving_default": embed_bytes,
            "embed_bytes": embed_bytes,
            "embed_images": _traced(self.embed_images, images),
        }

    def embed_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds `[B, H, W, C]` float32 in 0..1; returns embedding `[B, D]`, unit-norm, and valid `[B]`."""
        return self._embedded(*self._embedder.read_images(images))

    def embed_bytes(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeds `[B]` JPEG, PNG or BMP files of any size; returns embedding `[B, D]`, unit-norm, and valid `[B]`."""
        return self._embedded(*self._embedder.read_bytes(encoded))

    def _embedded(self, prepared: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        return mask_invalid({"embedding": self._embedder.embed(prepared)}, valid) | {"valid": valid}


class AnsweringServable(Servable):
    """Embeds pictures, and answers from a labelled memory.

    Args:
        embedder: from pictures to embeddings.
        memory: of labelled images.
        strangeness: against the training images.
        num_neighbours: how many of them the signature `neighbours` returns.
        assets: files to save with the model.
        trained: the same with weights that are variables.

    Raises:
        ValueError: if `num_neighbours` is not positive.
    """

    def __init__(
        self,
        embedder: Embedder,
        memory: LabelledMemory,
        strangeness: Strangeness,
        *,
        num_neighbours: int,
        assets: Sequence[pathlib.Path] = (),
        trained: Embedder | None = None,
    ) -> None:
        super().__init__(embedder, assets, trained=trained)
        if num_neighbours < 1:
            raise ValueError(f"--num_neighbours must be 1 or more. Received: {num_neighbours}")
        self.memory = memory
        self.strangeness = strangeness
        self.num_neighbours = num_neighbours

    def signatures(self) -> Signatures:
        """Returns the named signatures, each with a free batch size."""
        embedding = tf.TensorSpec([None, self._embedder.width], tf.float32, name="embedding")
        return super().signatures() | {
            "serving_default": _traced(self.answer, _ENCODED),
            "classify_embeddings": _traced(self.classify_embeddings, embedding),
            "neighbours": _traced(self.neighbours, embedding),
            "ood": _traced(self.ood, _ENCODED),
        }

    def answer(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classifies `[B]` files; returns what `_DEFAULT_ANSWER` names, embedding and valid."""
        prepared, valid = self._embedder.read_bytes(encoded)
        features = self._embedder.features(prepared)
        embedding = self._embedder.embed_features(features)
        everything = self.memory.classify(embedding) | self.strangeness.percentile(features)
        answer = {name: everything[name] for name in _DEFAULT_ANSWER}
        return mask_invalid(answer | {"embedding": embedding}, valid) | {"valid": valid}

    def classify_embeddings(self, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Is `LabelledMemory.classify`, for `[B, D]` of any length but 0."""
        return self.memory.classify(_directions(embedding))

    def neighbours(self, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Is `LabelledMemory.neighbours`, for `[B, D]` of any length but 0."""
        return self.memory.neighbours(_directions(embedding), k=self.num_neighbours)

    def ood(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Is `Strangeness.percentile`, for `[B]` files; and valid."""
        prepared, valid = self._embedder.read_bytes(encoded)
        return mask_invalid(self.strangeness.percentile(self._embedder.features(prepared)), valid) | {"valid": valid}


def _directions(embedding: tf.Tensor) -> tf.Tensor:
    """Scales `[B, D]` to length 1; a row without a direction, of zeros or with a number that is none, becomes zeros."""
    has_direction = is_finite(tf.reduce_sum(tf.abs(embedding), axis=1, keepdims=True))
    return unit_norm(tf.where(has_direction, embedding, 0.0))


def _traced(
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]], takes: tf.TensorSpec
) -> tf.types.experimental.ConcreteFunction:
    """Traces a signature; an attribute that is a `tf.function` would be saved too, and traced once more for it."""
    return tf.function(function, autograph=False).get_concrete_function(takes)
