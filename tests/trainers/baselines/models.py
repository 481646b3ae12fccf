"""What the tests of single methods share: tiny settings, plain gradient descent, and a batch."""

from typing import Any

import tensorflow as tf

from semppl.tests import tiny

RATE = 0.05


def settings(method: str, **changes: Any) -> dict[str, Any]:
    """Returns the settings of a method for batches of 16 images, 4 of them with a label, in two views."""
    return tiny.settings(**({"method": method, "small_views": 0, "queue_size": 40} | changes))


def prepare(model: Any, settings: dict[str, Any]) -> tiny.Batch:
    """Gives a method plain gradient descent; returns a batch for its step."""
    optimiser = tf.keras.optimizers.SGD(RATE)
    optimiser.build(model.trained_variables())
    model.compile(optimizer=optimiser)
    return {name: tf.constant(value) for name, value in tiny.batch(0, settings).items()}
