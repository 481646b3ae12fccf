"""Tests of semppl.data.balance."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.data.balance import BalancedOrder
from semppl.data.pipeline import balanced_epochs_of

_LABELS = np.array([2, 0, 2, 2, 7, 0, 2, 2, 2])  # classes of 2, 6 and 1 images
_MEMBERS = np.array([11, 20, 13, 14, 35, 26, 17, 18, 19])


def _of_loops(members, labels, image_keys, class_keys):
    """Deals an epoch in plain loops: per class, pass after pass in the order of the keys; then round after round."""
    classes = sorted(set(labels))
    rounds = max(list(labels).count(c) for c in classes)
    piles = []
    for row, c in enumerate(classes):
        images = [int(m) for m, label in zip(members, labels, strict=True) if label == c]
        pile, slot = [], 0
        while len(pile) < rounds:
            keyed = [(image_keys[row][slot + i], image) for i, image in enumerate(images)]
            pile += [image for _, image in sorted(keyed)]
            slot += len(images)
        piles.append(pile[:rounds])
    order = []
    for number in range(rounds):
        order += [
            piles[row][number] for _, row in sorted((class_keys[number][row], row) for row in range(len(classes)))
        ]
    return order


class BalancedOrderTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (_MEMBERS, _LABELS), ([5], [3]), ([4, 2, 9], [1, 1, 1]), ([8, 6, 7, 5, 3], [0, 1, 1, 1, 1]), ([1, 2], [4, 0])
    )
    def test_an_epoch_matches_plain_loops(self, members, labels):
        balanced = BalancedOrder(np.array(members), np.array(labels))
        for seed in range(5):
            rng = np.random.default_rng(seed)
            image_keys = rng.uniform(size=(balanced.num_classes, balanced.slots))
            class_keys = rng.uniform(size=(balanced.rounds, balanced.num_classes))
            order = balanced.order(tf.constant(image_keys), tf.constant(class_keys))
            self.assertAllEqual(order, _of_loops(members, labels, image_keys, class_keys))
            self.assertLen(order, len(balanced))

    def test_every_round_has_each_class_once(self):
        ids = np.array(list(balanced_epochs_of(_MEMBERS, _LABELS, first=0, seed=3).take(3 * 600).as_numpy_iterator()))
        rounds = ids.reshape(-1, 3)
        label = dict(zip(_MEMBERS.tolist(), _LABELS.tolist(), strict=True))
        for images in rounds.tolist():
            self.assertCountEqual([label[image] for image in images], [0, 2, 7])
        firsts = [label[image] for image in rounds[:, 0].tolist()]
        for c in (0, 2, 7):  # Binomial(600, 1/3): mean 200, standard deviation 11.5; five of those either side
            self.assertBetween(firsts.count(c), 142, 258)

    def test_within_a_class_every_image_comes_equally_often(self):
        ids = list(balanced_epochs_of(_MEMBERS, _LABELS, first=0, seed=3).take(3 * 600).as_numpy_iterator())
        counts = {image: ids.count(image) for image in _MEMBERS.tolist()}
        self.assertEqual(counts[35], 600)
        self.assertEqual([counts[image] for image in (20, 26)], [300, 300])
        self.assertEqual({counts[image] for image in (11, 13, 14, 17, 18, 19)}, {100})

    @parameterized.parameters(0, 1, 17, 18, 19, 700)
    def test_a_balanced_order_can_be_entered_anywhere(self, first):
        whole = list(balanced_epochs_of(_MEMBERS, _LABELS, first=0, seed=5).take(first + 30).as_numpy_iterator())
        entered = list(balanced_epochs_of(_MEMBERS, _LABELS, first=first, seed=5).take(30).as_numpy_iterator())
        self.assertEqual(entered, whole[first:])

    def test_epochs_and_seeds_differ(self):
        orders = [
            tuple(BalancedOrder(_MEMBERS, _LABELS).of_epoch(tf.constant(e, tf.int64), seed=s).numpy())
            for e in range(3)
            for s in range(3)
        ]
        self.assertLen(set(orders), 9)


if __name__ == "__main__":
    tf.test.main()
