"""Tests of semppl.trainers.optimisers.rate_factors."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.tests import testing
from semppl.trainers.optimisers import registry, schedules

_NAMES = ["lars", "adamw", "sgd", *(["lamb"] if testing.HAS_ADDONS else [])]
_SHAPES = {"slow/kernel": (3, 4), "slow/bias": (4,), "fast/kernel": (4, 2), "fast/bias": (2,)}


def _train(name, *, rates, factor=None, replicas=1, steps=3):
    """Takes steps on fixed gradients.

    Args:
        name: Name of the optimiser.
        rates: Factor of the schedule for each variable alone, in an optimiser of its own; None for one optimiser for all.
        factor: Factor of the first two variables in one optimiser for all.
        replicas: Number of replicas.
        steps: Number of steps.
    """
    strategy = testing.replicas(replicas)
    rng = np.random.default_rng(0)
    with strategy.scope():
        variables = [tf.Variable(rng.standard_normal(shape), dtype=tf.float32, name=n) for n, shape in _SHAPES.items()]
        groups = [[variable] for variable in variables] if rates else [variables]
        optimisers = []
        for group, rate in zip(groups, rates or [1.0], strict=True):
            schedule = schedules.WarmupCosine(peak=0.1 * rate, warmup_steps=1, total_steps=6)
            optimiser = registry.make_optimiser(
                name, learning_rate_schedule=schedule, weight_decay=0.3, trust_coefficient=0.1
            )
            optimiser.build(group)
            if factor is not None:
                optimiser.multiply_rate(variables[:2], factor)
            optimisers.append(optimiser)
    gradients = [rng.standard_normal((steps, *shape)).astype(np.float32) for shape in _SHAPES.values()]

    def replica_step(step):
        by_variable = dict(zip(_SHAPES, gradients, strict=True))
        for optimiser, group in zip(optimisers, groups, strict=True):
            pairs = [
                (tf.gather(by_variable[variable.name.split("/replica")[0].removesuffix(":0")], step), variable)
                for variable in group
            ]
            optimiser.apply_gradients(pairs, skip_gradients_aggregation=True)

    @tf.function
    def take_step(step):
        strategy.run(replica_step, args=(step,))

    for step in range(steps):
        take_step(tf.constant(step))
    return optimisers, [variable.numpy() for variable in variables]


class RateFactorsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(name=_NAMES, replicas=[1, 2])
    def test_a_factor_acts_as_an_optimiser_of_so_much_lower_a_rate(self, name, replicas):
        _, alone = _train(name, rates=[0.25, 0.25, 1.0, 1.0])
        _, together = _train(name, rates=None, factor=0.25, replicas=replicas)
        for value, expected in zip(together, alone, strict=True):
            self.assertAllClose(value, expected, rtol=1e-6, atol=1e-7)

    @parameterized.parameters(*_NAMES)
    def test_a_factor_of_one_changes_no_bit(self, name):
        _, plain = _train(name, rates=None)
        _, with_factor = _train(name, rates=None, factor=1.0)
        for value, expected in zip(with_factor, plain, strict=True):
            self.assertAllEqual(value, expected)

    @parameterized.parameters(*_NAMES)
    def test_the_rate_between_steps_is_that_of_the_schedule(self, name):
        (optimiser,), _ = _train(name, rates=None, factor=0.25, steps=1)
        self.assertAllClose(optimiser.learning_rate, 0.0, atol=0)
        (optimiser,), _ = _train(name, rates=None, factor=0.25, steps=2)
        self.assertAllClose(optimiser.learning_rate, 0.1, rtol=1e-6, atol=0)


if __name__ == "__main__":
    tf.test.main()
