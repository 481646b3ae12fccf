"""Parts of an encoder that training leaves as they are."""

import tensorflow as tf

from semppl.layers.blocks.normalisation import BatchNorm


def stages_of(encoder: tf.keras.layers.Layer) -> list[list[tf.keras.layers.Layer]]:
    """Returns the layers of an encoder by stage, from the image on; none for a network without stages."""
    stages: list[list[tf.keras.layers.Layer]] = getattr(encoder, "stages", [])
    return stages


def freeze(encoder: tf.keras.layers.Layer, *, norms: bool, stages: int) -> None:
    """Freezes parts of an encoder.

    Frozen layers have no trainable variables. Frozen batch norms use their moving averages in
    training too, and leave them as they are.

    Args:
        encoder: Encoder; its variables need not exist yet.
        norms: Whether to freeze all batch norms.
        stages: Number of stages to freeze, from the image on.

    Raises:
        ValueError: If the encoder has fewer stages.
    """
    found = stages_of(encoder)
    if not 0 <= stages <= len(found):
        raise ValueError(f"`stages` must be in 0..{len(found)}. Received: stages={stages}")
    frozen = [layer for stage in found[:stages] for layer in stage]
    if norms:
        frozen += [layer for layer in encoder._flatten_layers() if isinstance(layer, BatchNorm)]
    for layer in frozen:
        layer.trainable = False
        for part in layer._flatten_layers():
            if isinstance(part, BatchNorm):
                part.frozen = True


def variables_of(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """Returns all variables of a layer in an order that does not depend on which of them are trained."""
    return [
        variable
        for part in layer._flatten_layers()
        for variable in (*part._trainable_weights, *part._non_trainable_weights)
    ]
