"""Class-balanced epochs, in which every class occurs equally often."""

import numpy as np
import tensorflow as tf


class BalancedOrder:
    """Orders the images of an epoch in rounds: each round has one image of every class, in random order.

    There are as many rounds as the largest class has images. The images of a smaller class are repeated, in a new order on every
    pass. If an epoch ends within a pass, the images of that pass are a uniform sample.

    Args:
        members: `[m]` int64, positions of the images, m ≥ 1.
        labels: Integers `[m]`, classes of the images.
    """

    def __init__(self, members: np.ndarray, labels: np.ndarray) -> None:
        of_class = [members[labels == label] for label in np.unique(labels)]
        self.num_classes, self.rounds = len(of_class), max(map(len, of_class))
        passes = [-(-self.rounds // len(images)) for images in of_class]
        self.slots = max(count * len(images) for count, images in zip(passes, of_class, strict=True))
        self._images = np.zeros((self.num_classes, self.slots), np.int64)
        self._passes = np.full((self.num_classes, self.slots), np.inf)
        for row, (count, images) in enumerate(zip(passes, of_class, strict=True)):
            self._images[row, : count * len(images)] = np.tile(images, count)
            self._passes[row, : count * len(images)] = np.repeat(np.arange(count), len(images))

    def __len__(self) -> int:
        return self.num_classes * self.rounds

    def order(self, image_keys: tf.Tensor, class_keys: tf.Tensor) -> tf.Tensor:
        """Returns the order of an epoch as a function of random sort keys.

        Args:
            image_keys: `[classes, slots]` float64 in [0, 1), by which the images of a pass are sorted.
            class_keys: `[rounds, classes]` float64 in [0, 1), by which the classes of a round are sorted.

        Returns:
            `[rounds · classes]` int64, entries of `members`.
        """
        turns = tf.argsort(tf.constant(self._passes) + image_keys, axis=1, stable=True)[:, : self.rounds]
        by_class = tf.gather(tf.constant(self._images), turns, batch_dims=1)  # [classes,rounds]
        classes = tf.argsort(class_keys, axis=1, stable=True)  # [rounds,classes]
        return tf.reshape(tf.gather(tf.transpose(by_class), classes, batch_dims=1), [-1])

    def of_epoch(self, epoch: tf.Tensor, *, seed: int) -> tf.Tensor:
        """Returns the order of an epoch, a pure function of its number and the seed."""
        shapes = ([self.num_classes, self.slots], [self.rounds, self.num_classes])
        keys = [
            tf.random.stateless_uniform(
                shape, seed=[tf.constant(2 * seed + purpose, tf.int64), epoch], dtype=tf.float64, alg="philox"
            )
            for purpose, shape in enumerate(shapes, start=2)  # 0 and 1 would be the keys of `epochs_of`, at seed 0
        ]
        return self.order(*keys)
