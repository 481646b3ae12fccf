"""A batch predicted in parts: memory for the activations of one part, and an objective that sees the whole batch."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from semppl.layers.blocks.recomputation import keeping_averages

Views = dict[str, tf.Tensor]
Predict = Callable[[Views], tf.Tensor]
Backward = Callable[[tf.Tensor], list[tf.Tensor]]


def forward(
    predict: Predict, views: Views, variables: Sequence[tf.Variable], *, parts: int
) -> tuple[tf.Tensor, Backward]:
    """Predicts a batch, and says how a gradient by the predictions goes on to the variables.

    One part: a tape keeps the activations. More: the first pass keeps nothing, and the second, once the gradient is known, predicts
    a part again and goes back through it before the next. So the objective, between both, sees the predictions of the whole batch.
    Batch norm takes its statistics from a part, over all replicas; moving averages move once a part, in the second pass.

    Args:
        predict: maps views to `[V, b, D]`, whatever the number b of images.
        views: large `[L, B, H, W, C]` and small `[S, B, h, w, C]`.
        variables: that the predictions depend on.
        parts: k, a divisor of B.

    Returns:
        The predictions `[V, B, D]`, and a function from the gradient by them, `[V, B, D]`, to those by the variables.

    Reference: Gao et al. 2021, arXiv 2101.06983, section 3.2 (gradient cache).
    """
    if parts == 1:
        with tf.GradientTape() as tape:
            predictions = predict(views)
        return predictions, lambda upstream: tape.gradient(predictions, variables, output_gradients=upstream)
    with keeping_averages():
        predictions = in_parts(predict, views, parts=parts)

    def backward(upstream: tf.Tensor) -> list[tf.Tensor]:
        gradients: list[tf.Tensor] = [tf.zeros_like(variable) for variable in variables]
        done = upstream
        for part, its_upstream in zip(_split(views, parts), _split({"": upstream}, parts), strict=True):
            with tf.GradientTape() as tape:
                again = predict(_after(done, part))
            its_gradients = tape.gradient(again, variables, output_gradients=its_upstream[""])
            gradients = [total + its for total, its in zip(gradients, its_gradients, strict=True)]
            done = gradients[0]
        return gradients

    return predictions, backward


def in_parts(predict: Predict, views: Views, *, parts: int) -> tf.Tensor:
    """Predicts a batch part by part, one after the other: `[V, B, D]`; for the arguments see `forward`."""
    if parts == 1:
        return predict(views)
    predictions: list[tf.Tensor] = []
    for part in _split(views, parts):
        predictions.append(predict(_after(predictions[-1], part) if predictions else part))
    together = tf.stack(predictions, axis=2)  # [V,B/k,k,D]
    return tf.reshape(together, [together.shape[0], -1, together.shape[-1]])


def _split(values: Views, parts: int) -> list[Views]:
    """Deals rows `[·, B, …]` in turns: each part gets its share of the labelled rows, which come first."""
    return [{name: value[:, part::parts] for name, value in values.items()} for part in range(parts)]


def _after(done: tf.Tensor, views: Views) -> Views:
    """Returns the same views, but not before `done`: XLA would start all parts at once, and compute nothing twice."""
    nothing = tf.where(tf.math.is_finite(tf.reshape(done, [-1])[0]), 0.0, float("nan"))
    return {name: value + tf.cast(nothing, value.dtype) for name, value in views.items()}
