"""What methods share that train a linear classifier on weakly and strongly augmented views."""

from typing import Any

import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import require
from semppl.data.views.recipes import RECIPES, find_recipe
from semppl.layers import collectives
from semppl.layers.blocks.precision import at_least_float32
from semppl.layers.labels import NO_LABEL
from semppl.layers.networks import OnlineNetwork
from semppl.layers.pseudo_labels import Votes
from semppl.trainers.global_mean import global_mean
from semppl.trainers.reports import monitors
from semppl.trainers.siamese import Batch, Siamese


class Classifying(Siamese):
    """An encoder with a linear classifier; the first view of an image is weakly, the second strongly augmented.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Attributes:
        classifier: Linear layer from features to logits.
    """

    has_target = False
    has_predictor = False

    def __init__(self, hyperparameters: Hyperparameters, num_classes: int, **kwargs: Any) -> None:
        super().__init__(hyperparameters, num_classes, **kwargs)
        self.classifier = linear_classifier(self.online, hyperparameters, num_classes)

    @classmethod
    def suitable_recipe(cls, recipe: str) -> str:
        """Returns a recipe with a weak and a strong view: the given one if it has, else RandAugment; of digits, without flips."""
        if find_recipe(recipe).weak_and_strong:
            return recipe
        return "randaugment_digits" if recipe == "digits" else "randaugment"

    @classmethod
    def check_settings(cls, hyperparameters: Hyperparameters) -> None:
        """Requires a recipe with weak and strong views, two large views, no small view, and a trained encoder."""
        able = " or ".join(name for name, recipe in sorted(RECIPES.items()) if recipe.weak_and_strong)
        with_method = f"with --method={hyperparameters.method}"
        fits = hyperparameters.recipe in RECIPES and RECIPES[hyperparameters.recipe].weak_and_strong
        allowed = f"{able}, which make a weak and a strong view, {with_method}"
        require(fits, "recipe", allowed, hyperparameters.recipe)
        for flag, count in (("large_views", 2), ("small_views", 0)):
            value = getattr(hyperparameters, flag)
            require(value == count, flag, f"{count} {with_method}", value)
        require(hyperparameters.train == "all", "train", f"all {with_method}", hyperparameters.train)

    def embed_view(self, view: tf.Tensor) -> tf.Tensor:
        """Returns the logits of one view `[B, H, W, C]`, in training mode: `[B, C]`."""
        return at_least_float32(self.classifier(self.online.features(view, training=True)))

    def supervise(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns this replica's share of the mean cross-entropy over labelled images, from logits `[B, C]` and labels `[B]`."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
        return global_mean(losses, labels != NO_LABEL)

    def report_pseudo_labels(
        self, batch: Batch, votes: Votes, loss: tf.Tensor, gradient_norm: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the metrics of a step: the loss summed over replicas, and statistics of the pseudo-labels."""
        pseudo_labels = monitors.vote_report(votes, batch["labels"], batch["truth"], num_classes=self.num_classes)
        return {"loss": collectives.all_reduce_sum(loss), "gradient_norm": gradient_norm, **pseudo_labels}

    def embedding_variables(self) -> list[tf.Variable]:
        """Returns the trained variables: encoder and classifier."""
        return [*self.online.encoder.trainable_variables, *self.classifier.trainable_variables]


def linear_classifier(
    network: OnlineNetwork, hyperparameters: Hyperparameters, num_classes: int
) -> tf.keras.layers.Dense:
    """Makes a linear layer from a network's features to logits."""
    size = hyperparameters.large_size
    classifier = tf.keras.layers.Dense(num_classes, name="classifier")
    classifier.build(network.features(tf.zeros([1, size, size, hyperparameters.channels])).shape)
    return classifier
