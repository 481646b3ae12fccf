"""Tests of trainers/semantic.py: semantic positives on the objectives of BYOL and SimCLR, against plain loops."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.labels import NO_LABEL
from semppl.tests import testing, tiny
from semppl.trainers import pretrain


def _byol(anchors, targets, groups, others, settings):
    """Means of squared distances over views, per image, and over the semantic positives."""
    del groups, settings
    image, semantic = [], []
    for b in range(anchors.shape[1]):
        pairs = [(v, w) for v in range(len(anchors)) for w in range(len(targets)) if v != w]
        image.append(np.mean([2 - 2 * anchors[v, b] @ targets[w, b] for v, w in pairs]))
        semantic.append([2 - 2 * anchor @ other for anchor in anchors[:, b] for other in others[b]])
    return image, semantic


def _simclr(anchors, targets, groups, others, settings):
    """Means of cross-entropies over views, per image, and over the semantic positives."""
    del targets
    image, semantic = [], []
    for b in range(anchors.shape[1]):
        losses = {"image": [], "semantic": []}
        for v, anchor in enumerate(anchors[:, b]):
            negatives = sum(
                math.exp(anchor @ view[n] / settings.temperature)
                for view in anchors
                for n in range(len(groups))
                if groups[n] != groups[b]
            )
            views = [anchors[w, b] for w in range(len(anchors)) if w != v]
            for kind, positives in (("image", views), ("semantic", others[b])):
                for positive in positives:
                    score = math.exp(anchor @ positive / settings.temperature)
                    losses[kind].append(-math.log(score / (score + negatives)))
        image.append(np.mean(losses["image"]))
        semantic.append(losses["semantic"])
    return image, semantic


class SemanticTest(tf.test.TestCase, parameterized.TestCase):
    def _model(self, name, **changes):
        values = tiny.settings(method=name, small_views=0, semantic_positives=2, **changes)
        model = pretrain.build_model(Hyperparameters(**values), tiny.NUM_CLASSES, jit_compile=False)
        model.compile(optimizer=tf.keras.optimizers.SGD(0.0))
        return model, [{k: tf.constant(v) for k, v in tiny.batch(n, values).items()} for n in range(2)]

    @parameterized.parameters(("byol", _byol), ("simclr", _simclr))
    def test_the_loss_is_that_of_the_images_and_a_weighted_mean_over_entries_of_their_class(self, name, oracle):
        testing.use_float64(self)
        model, batches = self._model(name, **{f"{name}_semantic_weight": 0.7, "target_decay": 1.0})
        model.train_step(batches[1])
        batch = batches[0]
        report = model.train_step(batch)
        anchors = model.predict(batch)[0]
        votes = model.vote(anchors, batch["groups"], batch["labels"])
        classes = np.where(batch["labels"] != NO_LABEL, batch["labels"], votes.classes)
        slots, present = (part.numpy() for part in model.draw_semantic_positives(tf.constant(classes), tf.constant(1)))
        queue, labels = model.queue.embeddings.numpy(), model.queue.labels.numpy()
        for b in np.flatnonzero(present):
            self.assertEqual({labels[slot] for slot in slots[b].ravel()}, {classes[b]})
        others = [[queue[view, slot] for view in range(len(queue)) for slot in slots[b, view]] for b in range(16)]
        targets = model.project(batch).numpy() if name == "byol" else None
        image, semantic = oracle(anchors.numpy(), targets, batch["groups"].numpy(), others, model.hyperparameters)
        expected = np.mean(image) + 0.7 * np.mean([np.mean(semantic[b]) for b in np.flatnonzero(present)])
        self.assertGreater(present.sum(), 0)
        self.assertAllClose(report["loss"], expected, rtol=1e-6)
        self.assertAllClose(report["with_semantic_positive"], present.mean(), rtol=1e-6)

    @parameterized.parameters("byol", "simclr")
    def test_without_a_weight_there_is_no_queue(self, name):
        model, _ = self._model(name)
        self.assertFalse(hasattr(model, "queue"))

    @parameterized.parameters("byol", "simclr")
    def test_without_any_label_the_semantic_term_is_zero(self, name):
        losses = []
        for weight in (0.0, 0.7):
            model, (batch, _) = self._model(name, **{f"{name}_semantic_weight": weight})
            losses.append(float(model.train_step(batch | {"labels": tf.fill([16], NO_LABEL)})["loss"]))
        self.assertAllClose(losses[0], losses[1], rtol=1e-6)

    @parameterized.parameters("byol", "simclr")
    def test_semantic_positives_need_a_label(self, name):
        settings = Hyperparameters(data="folder:a", method=name, **{f"{name}_semantic_weight": 0.5})
        with self.assertRaisesRegex(ValueError, "^--data must be such that an image has a label. Received: folder:a$"):
            settings.resolved(num_images=9000, num_labelled=0, replicas=1)


if __name__ == "__main__":
    tf.test.main()
