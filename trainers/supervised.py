"""The baseline: the same encoder, augmentations and loop, trained on the labels alone."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.layers.blocks.precision import computing_in
from semppl.layers.blocks.recomputation import recomputing
from semppl.layers.networks import OnlineNetwork
from semppl.losses.cross_entropy import smoothed_cross_entropy
from semppl.trainers import micro_batches
from semppl.trainers.classifying import linear_classifier
from semppl.trainers.method import Method
from semppl.trainers.siamese import Batch


class Supervised(Method):
    """Trains the encoder and a linear classifier by cross-entropy on labelled images.

    Args:
        hyperparameters: Resolved hyper-parameters of the run; every image of a batch must be
            labelled.
        num_classes: Number of classes C.
    """

    labels_alone = True

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if hyperparameters.labelled_batch_size != hyperparameters.batch_size:
            allowed = f"batch_size={hyperparameters.batch_size} with --method=supervised"
            raise ValueError(
                f"--labelled_batch_size must be {allowed}. Received: {hyperparameters.labelled_batch_size}"
            )
        self.hyperparameters = hyperparameters
        self.num_classes = num_classes
        size = hyperparameters.large_size
        with computing_in(hyperparameters.precision):
            self.online = OnlineNetwork(**hyperparameters.network, name="online")
            self.online.build([None, size, size, hyperparameters.channels])
        self.classifier = linear_classifier(self.online, hyperparameters, num_classes)

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on all views of this replica's labelled images; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        variables = self.trained_variables()
        views, parts = {name: batch[name] for name in ("large", "small")}, self.hyperparameters.accumulate_steps
        logits, backpropagate = micro_batches.forward(self.classify_views, views, variables, parts=parts)  # [V,B,C]
        with tf.GradientTape() as tape:
            tape.watch(logits)
            labels = tf.broadcast_to(batch["labels"], tf.shape(logits)[:2])
            losses = smoothed_cross_entropy(
                logits, labels, smoothing=self.hyperparameters.supervised_label_smoothing
            )  # [V,B]
            loss = tf.reduce_mean(losses) / collectives.num_replicas()
        gradients = [collectives.all_reduce_sum(g) for g in backpropagate(tape.gradient(loss, logits))]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True), skip_gradients_aggregation=True)
        correct = tf.cast(tf.argmax(logits, -1, labels.dtype) == labels, loss.dtype)
        shares = tf.stack([loss, tf.reduce_mean(correct) / collectives.num_replicas()])
        loss, accuracy = tf.unstack(collectives.all_reduce_sum(shares))
        return {"loss": loss, "train_accuracy": accuracy, "gradient_norm": tf.linalg.global_norm(gradients)}

    def classify_views(self, views: Batch) -> tf.Tensor:
        """Returns the logits of all views: `[V, B, C]`."""
        with recomputing(self.hyperparameters.gradient_checkpointing):
            features = [self.online.features(view, training=True) for name in views for view in tf.unstack(views[name])]
        return tf.stack([self.classifier(view_features) for view_features in features])

    def trained_variables(self) -> list[tf.Variable]:
        """Returns the variables that the optimiser updates: encoder and classifier."""
        return [*self.online.encoder.trainable_variables, *self.classifier.trainable_variables]
