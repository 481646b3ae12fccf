"""Reads what a run knows of its data set: the images that it may remember, and images to be judged by."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, Images
from semppl.data.label_split import labels_of_run
from semppl.data.splits import load_data
from semppl.export.evidence import Embedded, Evidence, Trust

_MAX_HELD_OUT = 10_000
_MAX_REFERENCE = 2_000
_BATCH = 256


def read_evidence(
    hyperparameters: Hyperparameters,
    embed: Callable[[tf.Tensor], tf.Tensor],
    prepare: Callable[[tf.Tensor], tf.Tensor],
    trust: Trust,
) -> Evidence:
    """Embeds the labelled images of a run, and a sample of its training images and of those that it held out.

    Held out are its validation images where it has some, else its test images, else none.

    Args:
        hyperparameters: of the run.
        embed: maps prepared images `[B, h, w, C]` to unit-norm `[B, D]`.
        prepare: maps images as they are to what `embed` takes.
        trust: how answers are to be trusted.

    Raises:
        ValueError: if the data are not where the run found them.
    """
    source = load_data(hyperparameters)
    labels = labels_of_run(source, hyperparameters)
    labelled = np.flatnonzero(labels != NO_LABEL)
    unlabelled = np.flatnonzero(labels == NO_LABEL)
    reference = _sample(unlabelled if len(unlabelled) else labelled, _MAX_REFERENCE)
    function = tf.function(embed, reduce_retracing=True)

    def embedded(images: Images, ids: np.ndarray) -> np.ndarray:
        parts = images.batches(prepare, batch_size=_BATCH, ids=ids)
        return np.concatenate([function(part).numpy() for part in parts])

    def seen(ids: np.ndarray) -> Embedded:
        return Embedded(embedded(source.train, ids), labels[ids], ids)

    memory, held_out = seen(labelled), source.test if source.validation is None else source.validation
    if held_out is None:
        unseen = memory.take(np.zeros(0, int))
    else:
        ids = _sample(np.flatnonzero(held_out.labels != NO_LABEL), _MAX_HELD_OUT)
        unseen = Embedded(embedded(held_out, ids), held_out.labels[ids], np.full(len(ids), -1))
    return Evidence(
        memory=memory,
        held_out=unseen,
        reference=seen(reference),
        class_names=source.class_names,
        temperature=hyperparameters.temperature,
        trust=trust,
    )


def _sample(ids: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `[n]` ids, the same every time, in order."""
    return np.sort(np.random.default_rng(0).permutation(ids)[:count])
