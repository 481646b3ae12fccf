"""Micro-batches: the memory of a part of a batch, and an objective that sees the whole batch."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from semppl.layers.blocks.recomputation import keeping_averages

Views = dict[str, tf.Tensor]
Predict = Callable[[Views], tf.Tensor]
Backward = Callable[[tf.Tensor], list[tf.Tensor]]


def forward(
    predict: Predict, views: Views, variables: Sequence[tf.Variable], *, parts: int
) -> tuple[tf.Tensor, Backward]:
    """Predicts a batch, and returns the backward pass from its predictions to the variables.

    With one micro-batch, a tape keeps the activations. With several, the first pass keeps none;
    once the objective has seen the predictions of the whole batch, the backward pass predicts each
    micro-batch again and differentiates it before the next. Batch norm takes the statistics of a
    micro-batch over all replicas, and its moving averages move once per micro-batch, in the
    backward pass.

    Args:
        predict: Function from views to predictions `[V, b, D]`, for any number of images b.
        views: Large `[L, B, H, W, C]` and small `[S, B, h, w, C]` views.
        variables: Variables to differentiate by.
        parts: Number of micro-batches, a divisor of B.

    Returns:
        The predictions `[V, B, D]`, and a function from their gradient, `[V, B, D]`, to the
        gradients of the variables.

    Reference: Gao et al. 2021, arXiv 2101.06983, section 3.2 (gradient cache).
    """
    if parts == 1:
        with tf.GradientTape() as tape:
            predictions = predict(views)
        return predictions, lambda upstream: tape.gradient(predictions, variables, output_gradients=upstream)
    with keeping_averages():
        predictions = predict_in_parts(predict, views, parts=parts)

    def backward(upstream: tf.Tensor) -> list[tf.Tensor]:
        gradients: list[tf.Tensor] = [tf.zeros_like(variable) for variable in variables]
        previous = upstream
        for part, part_upstream in zip(_split(views, parts), _split({"": upstream}, parts), strict=True):
            with tf.GradientTape() as tape:
                part_predictions = predict(_after(previous, part))
            part_gradients = tape.gradient(part_predictions, variables, output_gradients=part_upstream[""])
            gradients = [total + gradient for total, gradient in zip(gradients, part_gradients, strict=True)]
            previous = gradients[0]
        return gradients

    return predictions, backward


def predict_in_parts(predict: Predict, views: Views, *, parts: int) -> tf.Tensor:
    """Predicts a batch one micro-batch after the other: `[V, B, D]`; see `forward` for the arguments."""
    if parts == 1:
        return predict(views)
    predictions: list[tf.Tensor] = []
    for part in _split(views, parts):
        predictions.append(predict(_after(predictions[-1], part) if predictions else part))
    stacked = tf.stack(predictions, axis=2)  # [V,B/k,k,D]
    return tf.reshape(stacked, [stacked.shape[0], -1, stacked.shape[-1]])


def _split(values: Views, parts: int) -> list[Views]:
    """Deals rows `[·, B, …]` in turns: labelled rows come first, and each micro-batch needs its share of them."""
    return [{name: value[:, part::parts] for name, value in values.items()} for part in range(parts)]


def _after(previous: tf.Tensor, views: Views) -> Views:
    """Returns `views` unchanged, but dependent on `previous`: XLA would otherwise run all micro-batches at once."""
    zero = tf.where(tf.math.is_finite(tf.reshape(previous, [-1])[0]), 0.0, float("nan"))
    return {name: value + tf.cast(zero, value.dtype) for name, value in views.items()}
