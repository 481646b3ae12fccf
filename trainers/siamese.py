"""What methods that compare views share: an online network, for most of them a target network, and the update."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import COMPATIBILITY
from semppl.configs.setting import require
from semppl.layers import collectives
from semppl.layers.blocks.precision import computing_in
from semppl.layers.blocks.recomputation import recomputing
from semppl.layers.key_queue import KeyQueue
from semppl.layers.moving_average import update_moving_average
from semppl.layers.negatives import draw_negatives
from semppl.layers.networks import OnlineNetwork, TargetNetwork, unit_norm
from semppl.layers.randomness import random_integers
from semppl.losses.compatibility import compatibility_distance
from semppl.losses.nested import sum_over_prefixes
from semppl.runs.compatible_run import load_old_network
from semppl.trainers import micro_batches
from semppl.trainers.global_mean import global_mean
from semppl.trainers.method import Method
from semppl.trainers.optimisers import schedules
from semppl.trainers.reports import monitors

Batch = dict[str, tf.Tensor]
_Losses = TypeVar("_Losses")


class Siamese(Method):
    """An online network, a target network that follows it, and the steps of an update.

    A subclass' `train_step` is the algorithm of its method, one named call per line.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Attributes:
        has_target: Whether there is a target network. Default True.
        has_predictor: Whether the online network's predictor is used and trained; else the anchors are projections, and
            the predictor keeps its initial weights. Default True.
        decay_rises: Whether the decay of the target network's moving average rises from `target_decay` to 1, as BYOL's does; else
            the decay is constant. Default True.
        target: Target network, where there is one.
        project_as_before: Function from images to the unit-norm projections of the older run, with `compatible_with`.
    """

    has_target = True
    has_predictor = True
    decay_rises = True
    target: TargetNetwork
    project_as_before: Callable[[tf.Tensor], tf.Tensor]

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hyperparameters = hyperparameters
        self.num_classes = num_classes
        shape = [None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels]
        with computing_in(hyperparameters.precision):
            self.online = OnlineNetwork(**hyperparameters.network, name="online")
            self.online.build(shape)
            if self.has_target:
                shared = self.online.encoder if hyperparameters.train != "all" else None
                self.target = TargetNetwork(**hyperparameters.network, shared_encoder=shared, name="target")
                self.target.build(shape)
        if self.is_compatible:
            _, old = load_old_network(hyperparameters.compatible_with)
            self.project_as_before = old.project  # a function: the older network is no part of checkpoints
        self._distances = threading.local()  # replicas trace their steps in threads of their own

    @classmethod
    def uses(cls, hyperparameters: Hyperparameters) -> tuple[str, ...]:
        """Returns the names of the settings that a run with these hyper-parameters uses; see `Method.settings`."""
        names = COMPATIBILITY if hyperparameters.compatible_with else COMPATIBILITY[:1]
        return (*super().uses(hyperparameters), *(names if cls.compares_projections() else ()))

    @classmethod
    def compares_projections(cls) -> bool:
        """Returns whether anchors are made of projections, as `compatible_with` requires: not with another `embed_view`."""
        return cls.embed_view is Siamese.embed_view

    def predict(self, batch: Batch) -> tuple[tf.Tensor, micro_batches.Backward]:
        """Returns the anchors `[V, B, D]`, and the function that maps their gradient to those of the trained variables.

        With `compatible_with`, that function adds the gradient of the distance to the older run's projections.
        """
        variables, parts = self.embedding_variables(), self.hyperparameters.accumulate_steps
        predictions, backward = micro_batches.forward(self.predict_views, views_of(batch), variables, parts=parts)
        if not self.is_compatible:
            return predictions, backward
        width = self.hyperparameters.embedding_width
        gradient = self.approach_old(predictions[..., -width:], batch)
        return predictions[..., :-width], lambda upstream: backward(tf.concat([upstream, gradient], axis=-1))

    def approach_old(self, projections: tf.Tensor, batch: Batch) -> tf.Tensor:
        """Returns the gradient `[V, B, D]` of the distance of projections of that shape to those of the older run."""
        parts, num_large = self.hyperparameters.accumulate_steps, self.hyperparameters.large_views
        old = micro_batches.predict_in_parts(self.project_views_as_before, views_of(batch), parts=parts)  # [L,B,E]
        with tf.GradientTape() as tape:
            tape.watch(projections)
            distance = self.mean(compatibility_distance(projections[:num_large], old))
            loss = self.hyperparameters.compatible_weight * distance
        self._distances.latest = distance
        return tape.gradient(loss, projections)

    def project_views_as_before(self, batch: Batch) -> tf.Tensor:
        """Returns the older run's projections of the large views, in inference mode: `[L, B, E]`, without gradient."""
        return tf.stop_gradient(tf.stack([self.project_as_before(view) for view in tf.unstack(batch["large"])]))

    def project(self, batch: Batch) -> tf.Tensor:
        """Returns the target projections of a batch, one micro-batch at a time: `[L, B, D]`, without gradient."""
        return micro_batches.predict_in_parts(
            self.project_views, views_of(batch), parts=self.hyperparameters.accumulate_steps
        )

    def predict_views(self, batch: Batch) -> tf.Tensor:
        """Returns the anchors of all views, large ones first: `[V, B, D]`; with `compatible_with`, followed by projections.

        Each view passes the network alone: batch norm takes the statistics of one view.
        """
        views = [*tf.unstack(batch["large"]), *tf.unstack(batch["small"])]
        with recomputing(self.hyperparameters.gradient_checkpointing):
            return tf.stack([self.embed_view(view) for view in views])

    def embed_view(self, view: tf.Tensor) -> tf.Tensor:
        """Returns the anchors of one view `[B, H, W, C]`, in training mode: `[B, D]`; see `predict_views`."""
        projections = self.online.projector(self.online.features(view, training=True), training=True)  # [B,D]
        anchors = self.make_anchors(projections)
        return tf.concat([anchors, unit_norm(projections)], axis=-1) if self.is_compatible else anchors

    def make_anchors(self, projections: tf.Tensor) -> tf.Tensor:
        """Returns the unit-norm anchors of projections `[B, D]` as the projector returns them, in training mode."""
        return unit_norm(self.online.predictor(projections, training=True) if self.has_predictor else projections)

    def project_views(self, batch: Batch) -> tf.Tensor:
        """Returns the target projections of the large views: `[L, B, D]`, without gradient."""
        return tf.stop_gradient(tf.stack([self.target(view, training=True) for view in tf.unstack(batch["large"])]))

    def make_queue(self, num_queues: int) -> KeyQueue:
        """Makes queues of the embeddings of all images.

        Raises:
            ValueError: If a queue has fewer slots than a batch has images.
        """
        settings = self.hyperparameters
        enough = f"at least batch_size = {settings.batch_size} with --method={settings.method}"
        require(settings.capacity >= settings.batch_size, "queue_size", enough, settings.capacity)
        return KeyQueue(num_queues, settings.capacity, settings.embedding_width, name="queue")

    def gather_views(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Returns the embeddings `[V, B, D]` of all replicas, in the order of the global batch: `[V, N, D]`, differentiable."""
        return collectives.gather_rows(embeddings, axis=1, num_labelled=self.num_labelled_rows)

    def gather_labels(self, labels: tf.Tensor) -> tf.Tensor:
        """Returns the labels `[B]`, or other integers, of all replicas in the order of the global batch: `[N]`."""
        return collectives.gather_rows(labels, axis=0, num_labelled=self.num_labelled_rows)

    def match_images(self, groups: tf.Tensor) -> tf.Tensor:
        """Returns which rows of the global batch show the same image as each of this replica's: bool of shape `[B, N]`."""
        return groups[:, tf.newaxis] == self.gather_labels(groups)

    def draw_negatives(self, groups: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Samples other images for each image and target view: positions in the global batch, `[B, L, M]`."""
        settings = self.hyperparameters
        shape = [settings.batch_size, settings.large_views, settings.negatives]
        numbers = random_integers(shape, seed=settings.seed, purpose="negatives", step=step)
        return draw_negatives(groups, self.rows, tf.gather(numbers, self.rows))

    def over_prefixes(self, loss: Callable[..., _Losses], *embeddings: tf.Tensor) -> _Losses:
        """Adds a loss of unit-norm embeddings `[..., D]` and of their prefixes of `nested_dims`; see `sum_over_prefixes`."""
        return sum_over_prefixes(loss, embeddings, self.hyperparameters.nested_dims)

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Returns this replica's share of the mean of `[B]` values over the global batch."""
        return global_mean(values, tf.ones_like(values, tf.bool))

    def descend(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Updates the trained variables with the gradients summed over replicas; returns their global norm."""
        gradients = [collectives.all_reduce_sum(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(
            zip(gradients, self.trained_variables(), strict=True), skip_gradients_aggregation=True
        )
        return tf.linalg.global_norm(gradients)

    def move_target(self, step: tf.Tensor) -> tf.Tensor:
        """Moves the parameters of f_t and g_t towards those of f and g; returns the decay."""
        settings = self.hyperparameters
        decay = tf.constant(settings.target_decay)
        if self.decay_rises:
            decay = schedules.target_decay(step, base=settings.target_decay, total_steps=settings.steps)
        update_moving_average(self.target.trainable_variables, self.online.projecting_variables, decay)
        return decay

    def report_step(self, anchors: tf.Tensor, loss: tf.Tensor, **numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the metrics of a step: the loss summed over replicas, the spread of the anchors, and other numbers."""
        spread = monitors.spread(tf.math.l2_normalize(anchors, axis=-1))
        report = {"loss": collectives.all_reduce_sum(loss), "embedding_spread": spread, **numbers}
        return report | self.report_compatibility()

    def report_compatibility(self) -> dict[str, tf.Tensor]:
        """Returns the distance to the older run's projections over the global batch; nothing without `compatible_with`."""
        if not self.is_compatible:
            return {}
        return {"compatibility_distance": collectives.all_reduce_sum(self._distances.latest)}

    def trained_variables(self) -> list[tf.Variable]:
        """Returns the variables that the optimiser updates: those of the embeddings first."""
        return self.embedding_variables()

    def embedding_variables(self) -> list[tf.Variable]:
        """Returns the trained variables that the anchors depend on."""
        variables: list[tf.Variable] = self.online.trainable_variables
        return variables if self.has_predictor else self.online.projecting_variables

    @property
    def is_compatible(self) -> bool:
        """Whether the projections approach those of an older run."""
        return self.compares_projections() and bool(self.hyperparameters.compatible_with)

    @property
    def num_labelled_rows(self) -> int:
        """The number of labelled images in this replica's share of a batch."""
        return self.hyperparameters.labelled_batch_size // collectives.num_replicas()

    @property
    def rows(self) -> tf.Tensor:
        """The positions of this replica's images in the global batch: int32 of shape `[B]`."""
        return collectives.local_rows(
            self.hyperparameters.batch_size // collectives.num_replicas(), self.num_labelled_rows
        )


def views_of(batch: Batch) -> Batch:
    """Returns the views of a batch alone."""
    return {name: batch[name] for name in ("large", "small")}
