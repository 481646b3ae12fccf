"""The projector and the predictor."""

from typing import Any

import tensorflow as tf

from semppl.layers.blocks.initialisers import fan_in_normal
from semppl.layers.blocks.normalisation import normalisation


@tf.keras.saving.register_keras_serializable(package="semppl")
class MLP(tf.keras.layers.Layer):
    """Linear with bias, normalisation, ReLU, linear without bias: one hidden layer, and no norm after the last.

    Args:
        hidden_width: Width of the hidden layer.
        output_width: Width of the output.
        norm: Normalisation of the hidden layer, a key of `NORMALISATIONS`.

    Reference: Grill et al. 2020, arXiv 2006.07733, section 3.2.
    """

    def __init__(self, hidden_width: int, output_width: int, norm: str = "batch", **kwargs: Any):
        super().__init__(**kwargs)
        if hidden_width < 1 or output_width < 1:
            raise ValueError(
                f"Widths must be positive. Received: hidden_width={hidden_width}, output_width={output_width}"
            )
        self.hidden_width = hidden_width
        self.output_width = output_width
        self.norm = norm
        self.hidden = tf.keras.layers.Dense(hidden_width, kernel_initializer=fan_in_normal(), name="hidden")
        self.hidden_norm = normalisation(norm, name="hidden_norm")
        self.outputs = tf.keras.layers.Dense(
            output_width, use_bias=False, kernel_initializer=fan_in_normal(), name="outputs"
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps `[..., D]` to `[..., output_width]`."""
        hidden = tf.nn.relu(self.hidden_norm(self.hidden(inputs), training=training))
        return self.outputs(hidden)

    @property
    def normalised(self) -> list[tuple[tf.keras.layers.Layer, tf.keras.layers.Layer]]:
        """Pairs of a linear layer and the normalisation that alone takes its output."""
        return [(self.hidden, self.hidden_norm)]

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "hidden_width": self.hidden_width,
            "output_width": self.output_width,
            "norm": self.norm,
        }
