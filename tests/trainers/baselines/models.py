"""A tiny model of a method, and a batch for it."""

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import tiny
from semppl.trainers import pretrain
from semppl.trainers.siamese import Siamese

RATE = 0.05


def make(method, **changes) -> tuple[Siamese, tiny.Batch]:
    """Makes a model that plain gradient descent trains, and a batch of 16 images with 4 labels, in two views."""
    settings = tiny.settings(method=method, **({"small_views": 0, "queue_size": 40} | changes))
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    optimiser = tf.keras.optimizers.SGD(RATE)
    optimiser.build(model.trained_variables())
    model.compile(optimizer=optimiser)
    return model, {name: tf.constant(value) for name, value in tiny.batch(0, settings).items()}
