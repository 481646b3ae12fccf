"""Tests of semppl.evaluation.advice.pseudo_labels and semppl.evaluation.advice.ledger."""

import dataclasses
import math
import pathlib
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import ImageSet
from semppl.evaluation.advice import ledger, pseudo_labels
from semppl.evaluation.advice.embedded import Embedded
from semppl.evaluation.advice.pseudo_labels import calibrated, fit_power, label_rows
from semppl.evaluation.advice.vote import vote
from semppl.evaluation.logistic_regression import held_out_parts
from semppl.evaluation.neighbours.directions import unit
from semppl.evaluation.neighbours.label_spreading import neighbour_graphs, spread_labels
from semppl.tests import testing, tiny  # noqa: F401  (marks the flags as parsed)


def _bands(seed, count=120, labelled=12, classes=3):
    """Long bands beside each other: labels spread along them."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    along = rng.uniform(0, 2, count)
    heights = truth + 0.12 * rng.standard_normal(count)
    features = np.stack([np.cos(along) + 2, np.sin(along), heights], 1)
    labels = np.full(count, -1)
    labels[:labelled] = truth[:labelled]
    return features, truth, labels


class PseudoLabelsTest(parameterized.TestCase):
    @parameterized.parameters(0, 1, 2, 3)
    def test_the_method_is_that_with_more_held_out_labels_and_the_vote_in_a_tie(self, seed):
        features, _, labels = _bands(seed)
        known, hits = np.flatnonzero(labels >= 0), {"vote": 0, 30: 0, 15: 0, 60: 0}
        graphs = dict(zip((30, 15, 60), neighbour_graphs(features), strict=True))
        for training, held_out in held_out_parts(labels[known], 0):
            shown = np.full_like(labels, -1)
            shown[known[training]] = labels[known[training]]
            rows = known[held_out]
            shares = vote(unit(features)[rows], unit(features)[known[training]], labels[known[training]], 3).shares
            hits["vote"] += sum(shares.argmax(1) == labels[rows])
            for size, graph in graphs.items():
                hits[size] += sum(spread_labels(graph, shown)[rows] == labels[rows])
        best = max(hits, key=hits.get)
        found = label_rows(features, labels)
        self.assertEqual(found.method, "vote" if best == "vote" else "label_spreading")
        self.assertAlmostEqual(found.held_out["vote"], hits["vote"] / 12)
        self.assertAlmostEqual(found.held_out["label_spreading"], max(hits[30], hits[15], hits[60]) / 12)
        self.assertEqual(found.rows.tolist(), np.flatnonzero(labels < 0).tolist())
        ballot = vote(unit(features)[found.rows], unit(features)[known], labels[known], 3)
        np.testing.assert_allclose(found.ballot.shares, ballot.shares)
        expected = ballot.shares.argmax(1) if best == "vote" else spread_labels(graphs[best], labels)[found.rows]
        self.assertEqual(found.labels.tolist(), expected.tolist())

    def test_held_out_pictures_judge_in_place_of_the_labelled(self):
        features, truth, labels = _bands(4, count=200)
        labels[100:] = -1
        judges = features[100:], truth[100:] + 7 * (np.arange(100) < 3)  # three of a class that has no label
        found = label_rows(features[:100], labels[:100], judges)
        self.assertLen(found.right, 97)
        shares = vote(unit(features[103:]), unit(features[:12]), truth[:12], 3).shares
        self.assertAlmostEqual(found.held_out["vote"], np.mean(shares.argmax(1) == truth[103:]))
        self.assertGreaterEqual(found.held_out["label_spreading"], 0.5)

    def test_probabilities_are_powers_of_the_shares(self):
        shares = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
        expected = []
        for row in shares.tolist():
            powers = [max(share, 1e-6) ** (1 / 1.7) for share in row]
            expected.append([power / sum(powers) for power in powers])
        np.testing.assert_allclose(calibrated(shares, 1.7), expected)

    @parameterized.parameters(0.5, 1.0, 2.5)
    def test_the_temperature_is_the_likeliest(self, true_temperature):
        rng = np.random.default_rng(0)
        shares = rng.dirichlet([0.5] * 3, 4000)
        truth = np.array([rng.choice(3, p=row) for row in calibrated(shares, true_temperature)])
        fitted = fit_power(shares, truth)
        self.assertAlmostEqual(fitted / true_temperature, 1, delta=0.1)
        losses = {}
        for power in (fitted * 0.97, fitted, fitted * 1.03):
            own = calibrated(shares, power)[np.arange(4000), truth]
            losses[power] = -sum(math.log(value) for value in own)
        self.assertEqual(min(losses, key=losses.get), fitted)
        self.assertEqual(fit_power(np.zeros((0, 3)), np.zeros(0, int)), 1.0)

    def test_without_a_picture_to_hold_out_the_vote_decides(self):
        features, _, labels = _bands(0, labelled=3)
        found = label_rows(features, labels)
        self.assertEqual((found.method, found.held_out, len(found.right)), ("vote", {}, 0))
        np.testing.assert_allclose(found.probabilities, found.ballot.shares.max(1), atol=1e-5)

    def test_many_pictures_are_not_spread_to(self):
        features, _, labels = _bands(0)
        with mock.patch.object(pseudo_labels, "_MOST_SPREAD", 119):
            self.assertEqual(set(label_rows(features, labels).held_out), {"vote"})


class LedgerTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        features, truth, labels = _bands(0, count=40)
        images = ImageSet(np.zeros((40, 2, 2, 1), np.uint8), truth, tuple(f"{i}.png" for i in range(40)))
        settings = Hyperparameters(**tiny.settings())
        self.embedded = Embedded(images, labels, ("a", "b", "c"), features, settings, 5, "a test")
        self.found = label_rows(features, labels)
        self.path = pathlib.Path(self.create_tempdir().full_path) / ledger.FILE

    def _rows(self, **changes):
        embedded = dataclasses.replace(self.embedded, **changes)
        return ledger.ledger_rows(embedded, self.found, self.found.probabilities < 0.5)

    def test_a_row_has_the_votes_and_those_who_voted(self):
        self.assertIsNone(ledger.write_ledger(self.path, self._rows()))
        table = pq.read_table(self.path)
        self.assertEqual(table.schema.names, ledger.SCHEMA.names)
        row = table.to_pylist()[0]
        self.assertEqual((row["step"], row["position"], row["path"]), (5, 12, "12.png"))
        self.assertEqual(row["label"], "abc"[self.found.labels[0]])
        voters = self.found.ballot.voters[0][:10]
        self.assertEqual(row["neighbours"], [f"{voter}.png" for voter in voters])  # the first twelve have labels
        self.assertEqual(row["votes"], ["abc"[self.embedded.labels[voter]] for voter in voters])
        self.assertAlmostEqual(row["share"], self.found.ballot.shares[0].max())
        self.assertEqual(row["vote"], "abc"[self.found.ballot.shares[0].argmax()])
        self.assertIsNone(row["previous_label"])

    def test_a_later_step_is_added_with_what_was_before(self):
        ledger.write_ledger(self.path, self._rows())
        later = self._rows(step=9)
        was = later[0]["label"]
        later[0]["label"] = "b" if was != "b" else "c"
        self.assertEqual(ledger.write_ledger(self.path, later), 1)
        self.assertEqual(ledger.write_ledger(self.path, self._rows(step=9)), 0)  # in place of the former
        rows = pq.read_table(self.path).to_pylist()
        self.assertLen(rows, 2 * 28)
        self.assertEqual((rows[28]["previous_step"], rows[28]["previous_label"]), (5, was))
        self.assertIsNone(ledger.write_ledger(self.path, self._rows(step=3)))  # nothing is before

    def test_another_file_is_refused(self):
        self.path.write_text("no ledger", encoding="utf-8")
        with self.assertRaisesRegex(ValueError, "^--out must hold a ledger"):
            ledger.write_ledger(self.path, self._rows())


if __name__ == "__main__":
    absltest.main()
