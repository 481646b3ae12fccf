"""Small global batches for the objective, and what it makes of them in plain loops."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from semppl.losses import objective
from semppl.tests import numpy_method


class Case(NamedTuple):
    """The arguments of `objective.terms` for a global batch, as arrays."""

    anchors: Any  # [V,N,D]
    targets: Any  # [L,N,D]
    negatives: Any  # [N,L,M]
    queues: Any  # [L,Q,D]
    slots: Any  # [N,L,R]
    present: Any  # [N]


def make_case(large=2, small=1, batch=5, width=4, negatives=3, capacity=7, positives=2, seed=0):
    """Makes a batch of which every third image, from the second on, has no class in the queue."""
    rng = np.random.default_rng(seed)

    def vectors(*shape):
        normal = rng.standard_normal((*shape, width))
        return normal / np.linalg.norm(normal, axis=-1, keepdims=True)

    def others(image):
        return rng.permutation(np.delete(np.arange(batch), image))[:negatives]

    return Case(
        vectors(large + small, batch),
        vectors(large, batch),
        np.array([[others(image) for _ in range(large)] for image in range(batch)], np.int32),
        vectors(large, capacity),
        rng.integers(0, capacity, (batch, large, positives)).astype(np.int32),
        np.arange(batch) % 3 != 1,  # the second, the fifth, … image has no class in the queue
    )


def image_terms(case, rows=None, temperature=0.3, dtype=tf.float64, **options):
    """Returns the terms of every image, `[N]` each; with `rows`, of the images that stand there in the global batch."""
    return objective.terms(
        tf.cast(case.anchors, dtype),
        tf.cast(case.targets, dtype),
        tf.cast(case.queues, dtype),
        rows=tf.range(case.anchors.shape[1]) if rows is None else rows,
        negatives=tf.convert_to_tensor(case.negatives),
        slots=tf.convert_to_tensor(case.slots),
        present=tf.convert_to_tensor(case.present),
        temperature=temperature,
        **options,
    )


def expected_terms(case, temperature=0.3, teachers=None):
    """Returns the four terms over the whole batch, from plain loops."""
    slots = [sampled if present else [] for sampled, present in zip(case.slots, case.present, strict=True)]
    return numpy_method.terms(
        case.anchors, case.targets, case.negatives, case.queues, slots, temperature=temperature, teachers=teachers
    )
