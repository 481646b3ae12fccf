"""The target's parameters as a moving average of the online ones."""

from collections.abc import Sequence

import tensorflow as tf


def moving_average(target: tf.Tensor, online: tf.Tensor, decay: tf.Tensor | float) -> tf.Tensor:
    """Computes decay · target + (1 − decay) · online.

    Args:
        target: `[...]` current average.
        online: `[...]` new value.
        decay: Scalar in 0..1; 1 leaves the target unchanged.

    Returns:
        `[...]` new average, of the target's dtype.

    Reference: Grill et al. 2020 (BYOL), arXiv 2006.07733, eq. 1.
    """
    decay = tf.cast(decay, target.dtype)
    return decay * target + (1 - decay) * tf.cast(online, target.dtype)


def update_moving_average(
    target_variables: Sequence[tf.Variable], online_variables: Sequence[tf.Variable], decay: tf.Tensor | float
) -> None:
    """Updates each target variable with the moving average of its online counterpart, in place.

    Pass trainable variables only: running statistics belong to the network that saw the batch, and
    are not averaged. Every replica updates its own copy; the target's copies stay equal because the
    online copies are.

    Args:
        target_variables: Variables to update.
        online_variables: Counterparts of `target_variables`, in the same order.
        decay: Scalar in 0..1, see `moving_average`.

    Raises:
        ValueError: If the two differ in number, or a pair differs in its role (the last part of its
            name) or shape.
    """
    _check_pairs(target_variables, online_variables)
    for target, online in zip(target_variables, online_variables, strict=True):
        target.assign(moving_average(tf.convert_to_tensor(target), tf.convert_to_tensor(online), decay))


def _check_pairs(target_variables: Sequence[tf.Variable], online_variables: Sequence[tf.Variable]) -> None:
    for i, (target, online) in enumerate(zip(target_variables, online_variables, strict=False)):
        if target.shape != online.shape or _role(target) != _role(online):
            raise ValueError(
                "Target and online variables must agree pair by pair in the last part of their names and in shape. "
                f"Received: pair {i} is {_describe(target)} and {_describe(online)}"
            )
    if len(target_variables) != len(online_variables):
        longer = max(target_variables, online_variables, key=len)
        unpaired = longer[min(len(target_variables), len(online_variables))]
        raise ValueError(
            "Every target variable must have one online variable. "
            f"Received: {len(target_variables)} target and {len(online_variables)} online variables; "
            f"the first without a partner is {_describe(unpaired)}"
        )


def _role(variable: tf.Variable) -> str:
    return variable.name.rsplit("/", maxsplit=1)[-1]


def _describe(variable: tf.Variable) -> str:
    return f"{variable.name} {tuple(variable.shape)}"
