"""The order of a class-balanced epoch: every class comes equally often, however many images it has."""

import numpy as np
import tensorflow as tf


class BalancedOrder:
    """Orders the images of an epoch in rounds: each round has one image of every class, in an order of its own.

    There are as many rounds as the largest class has images. A smaller class goes through its images again and again, each time in
    a new order; where an epoch ends within such a pass, the pass' first images are a uniform draw.

    Args:
        members: `[m]` int64, m ≥ 1.
        labels: `[m]` their classes.
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
        """Returns an epoch's order, by given random numbers.

        Args:
            image_keys: `[classes, slots]` float64 in [0, 1): images of a pass come in the order of theirs.
            class_keys: `[rounds, classes]` float64 in [0, 1): classes of a round come in the order of theirs.

        Returns:
            `[rounds · classes]` int64 of the members.
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
