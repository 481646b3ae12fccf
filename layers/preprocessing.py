"""How an image is prepared when nothing is random: the same in evaluation and in a served model."""

from typing import Any

import tensorflow as tf

CROPS = {"none": 1.0, "centre": 224 / 256}


@tf.keras.saving.register_keras_serializable(package="semppl")
class TestView(tf.keras.layers.Layer):
    """Cuts the centre out and resizes it, bicubic.

    Args:
        size: side of the view, in pixels.
        crop: `none` takes the whole image; `centre` the central square of 224/256 of the shorter side.

    Raises:
        ValueError: if the crop is unknown.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    def __init__(self, size: int, crop: str = "none", **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        if crop not in CROPS:
            raise ValueError(f"`crop` must be one of {', '.join(CROPS)}. Received: {crop}")
        self.size = size
        self.crop = crop

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Maps `[B, H, W, C]`, uint8 or float32 in 0..1, to `[B, size, size, C]` float32 in 0..1."""
        images = tf.image.convert_image_dtype(images, tf.float32)
        if self.crop == "centre":
            shape = tf.shape(images)
            side = tf.cast(tf.round(tf.cast(tf.minimum(shape[1], shape[2]), tf.float32) * CROPS["centre"]), tf.int32)
            images = tf.image.crop_to_bounding_box(images, (shape[1] - side) // 2, (shape[2] - side) // 2, side, side)
        resized = tf.image.resize(images, [self.size, self.size], tf.image.ResizeMethod.BICUBIC)
        return tf.clip_by_value(resized, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the same layer."""
        return {"name": self.name, "size": self.size, "crop": self.crop}


def test_view(recipe: str, size: int) -> TestView:
    """Returns the preparation that goes with an augmentation recipe."""
    return TestView(size, "centre" if recipe == "imagenet" else "none", name="test_view")
