"""The base of all methods: a Keras model that measures how long its training waits for input."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.networks import OnlineNetwork, TargetNetwork

Report = dict[str, tf.Tensor]


class Method(tf.keras.Model):
    """Trains in Keras' `fit`, and measures the time spent waiting for batches.

    A subclass' `train_step` reports global values, equal on all replicas; `fit` gets those of the
    first. It is traced without AutoGraph: use `tf.cond` and `tf.where`, not `if` on a tensor.

    Attributes:
        seconds_waiting: Seconds that this process has waited for batches. Not measured when one
            execution takes several steps, because their batches are fetched inside a graph.
        labels_alone: Whether the method trains on labelled images alone.
        settings: Names of the settings of the objective that the method uses, and "target_decay" if used; settings whose name
            begins with the method's name are not listed. Default: none.
        hyperparameters: Resolved hyper-parameters of the run.
        online: Network that is trained and evaluated.
    """

    seconds_waiting = 0.0
    labels_alone = False
    settings: tuple[str, ...] = ()
    hyperparameters: Hyperparameters
    online: OnlineNetwork
    train_function: Callable[[Iterator[Any]], Report] | None

    @classmethod
    def uses(cls, hyperparameters: Hyperparameters) -> tuple[str, ...]:
        """Returns the names of the settings that a run with these hyper-parameters uses; see `settings`."""
        del hyperparameters
        return cls.settings

    @classmethod
    def check_settings(cls, hyperparameters: Hyperparameters) -> None:
        """Validates the settings for this method before data are read; by default, all are allowed.

        Raises:
            ValueError: If a setting does not suit the method.
        """

    @classmethod
    def warning(cls, hyperparameters: Hyperparameters) -> str:
        """Returns a line about settings that are allowed, but leave a part of the method unused; by default, none: ""."""
        del hyperparameters
        return ""

    @classmethod
    def suitable_recipe(cls, recipe: str) -> str:
        """Returns the recipe for runs of this method in a comparison whose other runs have `recipe`."""
        return recipe

    @property
    def trains_heads(self) -> bool:
        """Whether the encoder is frozen, and batches have its features in place of views."""
        return self.hyperparameters.train == "heads"

    @property
    def trained_parts(self) -> tuple[str, ...]:
        """Names of the parts whose variables the optimiser updates: "encoder", "projector", "predictor" and "classifier"."""
        parts = {name: getattr(self.online, name) for name in ("encoder", "projector", "predictor")}
        parts |= {"classifier": self.classifier} if hasattr(self, "classifier") else {}
        trained = {id(variable) for variable in self.trained_variables()}
        return tuple(
            name
            for name, part in parts.items()
            if any(id(variable) in trained for variable in part.trainable_variables)
        )

    def trained_variables(self) -> list[tf.Variable]:
        """Returns the variables that the optimiser updates."""
        raise NotImplementedError("A method must name the variables that it trains.")

    @property
    def networks(self) -> list[TargetNetwork]:
        """The online network and, where there is one, the target network."""
        target: TargetNetwork | None = getattr(self, "target", None)
        return [self.online] if target is None else [self.online, target]

    def scale_features(self, mean: np.ndarray, stddev: np.ndarray) -> None:
        """Makes every network with a frozen encoder standardise its features `[B, F]` by mean and standard deviation, `[F]`."""
        for network in self.networks:
            if network.scaling is not None:
                network.scaling.fit(mean, stddev)

    def make_train_function(self, force: bool = False) -> Callable[[Iterator[Any]], Report]:
        """Returns the function that `fit` calls: it takes `steps_per_execution` steps, and returns the last report."""
        if self.train_function is not None and not force:
            return self.train_function
        self.distribute_reduction_method = "first"  # reports are of the global batch; Keras would add them up
        if int(self.steps_per_execution.numpy()) > 1:
            train_steps: Callable[[Iterator[Any]], Report] = super().make_train_function(force)
            return train_steps
        strategy = self.distribute_strategy
        run = (
            tf.function(self.train_step, jit_compile=True, reduce_retracing=True, autograph=False)
            if self.jit_compile
            else self.train_step
        )

        @tf.function(reduce_retracing=True, autograph=False)  # converting would take seconds, and find nothing
        def take_step(batch: Any) -> Report:
            report = strategy.run(run, args=(batch,))
            return {name: strategy.experimental_local_results(value)[0] for name, value in report.items()}

        def train_function(iterator: Iterator[Any]) -> Report:
            start = time.monotonic()
            batch = next(iterator)
            self.seconds_waiting += time.monotonic() - start
            return take_step(batch)

        self.train_function = train_function
        return train_function
