"""ReLIC and ReLICv2: SemPPL without labels; views attract each other, and rank other images alike."""

import functools

import tensorflow as tf

from semppl.data.views.making import finish_views
from semppl.layers import collectives
from semppl.losses import objective
from semppl.trainers.siamese import Batch, Siamese


class ReLIC(Siamese):
    """Contrasts each view with the target projections of all other images; labels are not used.

    Args:
        hyperparameters: Resolved hyper-parameters of the run.
        num_classes: Number of classes C.

    Reference: Mitrovic et al. 2021, arXiv 2010.07922, section 3.
    """

    settings: tuple[str, ...] = (
        "temperature",
        "contrastive_weight",
        "invariance_weight",
        "nested_dims",
        "target_decay",
    )

    def train_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step on this replica's share of a batch; returns scalars, equal on all replicas."""
        batch = finish_views(batch, recipe=self.hyperparameters.recipe)
        step = tf.convert_to_tensor(self.optimizer.iterations)  # read before the update
        anchors, backpropagate = self.predict(batch)  # [V,B,D]
        targets = self.gather_views(self.project(batch))  # [L,N,D]
        candidates = self.choose_candidates(batch["groups"], step)
        with tf.GradientTape() as tape:
            tape.watch(anchors)
            terms = self.compare(anchors, targets, candidates)
            loss = self.weigh(terms)
        gradient_norm = self.descend(backpropagate(tape.gradient(loss, anchors)))
        decay = self.move_target(step)
        numbers = {name: collectives.all_reduce_sum(term) for name, term in terms._asdict().items()}
        return self.report_step(anchors, loss, **numbers, gradient_norm=gradient_norm, target_decay=decay)

    def choose_candidates(self, groups: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the arguments of `augmentation_terms` that decide on negatives: here, all other images of the global batch."""
        del step
        return {"same": self.match_images(groups)}

    def compare(
        self, anchors: tf.Tensor, targets: tf.Tensor, candidates: dict[str, tf.Tensor]
    ) -> objective.AugmentationTerms:
        """Computes this replica's share of the terms' means over the global batch."""
        temperature = self.hyperparameters.temperature
        loss = functools.partial(objective.augmentation_terms, rows=self.rows, **candidates, temperature=temperature)
        per_image = self.over_prefixes(loss, anchors, targets)
        return objective.AugmentationTerms(*(self.mean(term) for term in per_image))

    def weigh(self, terms: objective.AugmentationTerms) -> tf.Tensor:
        """Returns c·L_AUGM + λ·I_AUGM."""
        settings = self.hyperparameters
        contrast = settings.contrastive_weight * terms.contrastive_augmentation
        return contrast + settings.invariance_weight * terms.invariance_augmentation


class ReLICv2(ReLIC):
    """Contrasts each view with the target projections of a few other images, drawn at random.

    Reference: Tomasev et al. 2022, arXiv 2201.05119, section 2.
    """

    settings: tuple[str, ...] = (*ReLIC.settings, "negatives")

    def choose_candidates(self, groups: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Samples other images for each image and target view: positions in the global batch, `[B, L, M]`."""
        return {"negatives": self.draw_negatives(self.gather_labels(groups), step)}
