"""Pictures and their random views, for a look during the run."""

import dataclasses

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import Images
from semppl.data.streaming import StreamedImageSet
from semppl.data.views.crops import crop_picture, crop_views
from semppl.data.views.making import finish_views
from semppl.evaluation.features import preparation_of

_STREAM = -2  # of the views' seeds; training's streams are not negative


@dataclasses.dataclass(frozen=True)
class Views:
    """Random views of a few images.

    Attributes:
        names: Names of n images, or their positions.
        plain: `[n, large_size, large_size, C]` the images, prepared as in evaluation, but at that size, in [0, 1].
        large: `[L, n, large_size, large_size, C]` large views.
        small: `[S, n, small_size, small_size, C]` small views.
    """

    names: tuple[str, ...]
    plain: np.ndarray
    large: np.ndarray
    small: np.ndarray


class ViewsOfAFew:
    """Makes views of the same few training images, which lie evenly spaced among all, with other random numbers at every step.

    Args:
        images: Training images.
        hyperparameters: Settings of the run.
        count: Maximum number of images. Default 8.

    Attributes:
        positions: Integers `[n]`, positions of the images.
    """

    def __init__(self, images: Images, hyperparameters: Hyperparameters, *, count: int = 8) -> None:
        self.positions = np.unique(np.linspace(0, len(images) - 1, min(len(images), count)).astype(int))
        self._images = images
        self._settings = hyperparameters.views
        self._prepare = preparation_of(hyperparameters, size=hyperparameters.large_size)

    def __call__(self, step: int) -> Views:
        """Makes the views of a step."""
        plain, crops, seeds = [], [], []
        for position, image in zip(
            self.positions,
            self._images.batches(tf.identity, batch_size=1, positions=self.positions),
            strict=True,
        ):
            seed = tf.constant([[_STREAM, step * len(self._images) + int(position)]], tf.int64)
            plain.append(self._prepare(image)[0].numpy())
            crops.append(self._crop(image, seed))
            seeds.append(seed)
        together = {name: tf.concat([crop[name] for crop in crops], axis=1) for name in ("large", "small")}
        views = finish_views(together | {"seeds": tf.concat(seeds, axis=0)}, recipe=self._settings.recipe)
        names = self._images.names
        return Views(
            tuple(names[position] if names else str(position) for position in self.positions),
            np.stack(plain),
            views["large"].numpy(),
            views["small"].numpy(),
        )

    def _crop(self, image: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Crops one image `[1, H, W, C]`: large `[L, 1, …]` and small `[S, 1, …]`."""
        if not isinstance(self._images, StreamedImageSet):
            return crop_views(image, self._settings, seed=seed)
        return {
            name: crop[:, tf.newaxis] for name, crop in crop_picture(image[0], self._settings, seed=seed[0]).items()
        }
