"""Tests of semppl.evaluation.advice.pseudo_labels and semppl.evaluation.advice.ledger."""

import collections
import dataclasses
import json
import math
import pathlib
import subprocess
import sys
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


def _bands(seed, count=120, labelled=12, classes=3, *, narrow=False):
    """Long bands beside each other: labels spread along them; the vote errs where they are narrow."""
    rng = np.random.default_rng(seed)
    count = 300 if narrow else count
    truth = np.arange(count) % classes
    along = rng.uniform(0, 2, count)
    heights = (0.5 if narrow else 1.0) * truth + (0.05 if narrow else 0.12) * rng.standard_normal(count)
    features = np.stack([np.cos(along) + 2, np.sin(along), heights], 1)
    labels = np.full(count, -1)
    labels[:labelled] = truth[:labelled]
    return features, truth, labels


class PseudoLabelsTest(parameterized.TestCase):
    @parameterized.product(seed=(0, 1, 5), narrow=(False, True))  # of seed 5, the wide bands are a tie
    def test_the_method_is_that_with_more_held_out_labels_and_the_vote_in_a_tie(self, seed, narrow):
        features, _, labels = _bands(seed, narrow=narrow)
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
        self.assertEqual(found.method, "label_spreading" if narrow else "vote")
        self.assertEqual(best == "vote", not narrow)
        self.assertAlmostEqual(found.held_out["vote"], hits["vote"] / 12)
        self.assertAlmostEqual(found.held_out["label_spreading"], max(hits[30], hits[15], hits[60]) / 12)
        self.assertEqual(found.rows.tolist(), np.flatnonzero(labels < 0).tolist())
        ballot = vote(unit(features)[found.rows], unit(features)[known], labels[known], 3)
        np.testing.assert_allclose(found.ballot.shares, ballot.shares)
        expected = ballot.shares.argmax(1) if best == "vote" else spread_labels(graphs[best], labels)[found.rows]
        self.assertEqual(found.labels.tolist(), expected.tolist())

    @parameterized.product(seed=(0, 1), narrow=(False, True))
    def test_test_pictures_decide_nothing_and_are_reported(self, seed, narrow):
        features, _, labels = _bands(seed, narrow=narrow)
        own = label_rows(features, labels)
        # The other method gets every test picture right.
        if narrow:
            others = vote(unit(features)[own.rows], unit(features)[own.known], labels[own.known], 3).shares.argmax(1)
        else:
            others = spread_labels(neighbour_graphs(features)[0], labels)[own.rows]
        self.assertLess(np.mean(others == own.labels), 0.99)
        found = label_rows(features, labels, test=(features[own.rows], others))
        self.assertEqual((found.method, found.chosen_on), (own.method, "cross_validation"))
        self.assertEqual(found.held_out, own.held_out)
        for name in ("labels", "probabilities"):
            np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
        self.assertIsNone(own.tested)
        self.assertLen(found.tested.right, len(own.rows))
        self.assertLess(found.tested.right.mean(), 1)

    def test_votes_on_test_pictures_are_those_of_plain_loops(self):
        features, truth, labels = _bands(1, count=160)
        test = features[120:], truth[120:] + 7 * (np.arange(40) < 3)  # three of a class that has no label
        with mock.patch.object(pseudo_labels, "_MOST_SPREAD", 0):
            found = label_rows(features[:120], labels[:120], test=test)
        directions = [row / np.linalg.norm(row) for row in features]
        shares = []
        for query in range(123, 160):
            cosines = [float(directions[query] @ directions[row]) for row in range(12)]
            weights = [math.exp(cosine / 0.1) for cosine in cosines]
            shares.append(
                [sum(w for w, c in zip(weights, truth, strict=False) if c == k) / sum(weights) for k in range(3)]
            )
        folds = list(held_out_parts(labels[:12], 0))
        judged = np.concatenate([vote(unit(features[h]), unit(features[t]), labels[t], 3).shares for t, h in folds])
        temperature = fit_power(judged, np.concatenate([labels[h] for _, h in folds]))
        expected = calibrated(np.array(shares), temperature)
        np.testing.assert_allclose(found.tested.probabilities, expected.max(1), rtol=1e-6)
        self.assertEqual(found.tested.right.tolist(), (expected.argmax(1) == truth[123:]).tolist())

    def test_validation_pictures_of_other_classes_leave_the_choice_to_the_labelled(self):
        features, _, labels = _bands(2)
        own = label_rows(features, labels)
        found = label_rows(features, labels, validation=(features[:5], np.full(5, 9)))
        self.assertEqual((found.chosen_on, found.held_out), ("cross_validation", own.held_out))
        np.testing.assert_array_equal(found.probabilities, own.probabilities)

    def test_held_out_pictures_judge_in_place_of_the_labelled(self):
        features, truth, labels = _bands(4, count=200)
        labels[100:] = -1
        judges = features[100:], truth[100:] + 7 * (np.arange(100) < 3)  # three of a class that has no label
        found = label_rows(features[:100], labels[:100], validation=judges)
        self.assertEqual(found.chosen_on, "validation")
        self.assertLen(found.judged.right, 97)
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
        self.assertEqual((found.method, found.chosen_on, found.held_out), ("vote", "nothing", {}))
        self.assertEmpty(found.judged.right)
        np.testing.assert_allclose(found.probabilities, found.ballot.shares.max(1), atol=1e-5)

    def test_many_pictures_are_not_spread_to(self):
        features, _, labels = _bands(0)
        with mock.patch.object(pseudo_labels, "_MOST_SPREAD", 119):
            self.assertEqual(set(label_rows(features, labels).held_out), {"vote"})
        with mock.patch.object(pseudo_labels, "_MOST_SPREAD", 120):
            self.assertEqual(set(label_rows(features, labels).held_out), {"vote", "label_spreading"})


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

    def test_two_models_of_one_step_are_told_apart(self):
        ledger.write_ledger(self.path, self._rows(weights="aa"))
        ledger.write_ledger(self.path, self._rows(weights="bb"))
        self.assertEqual(ledger.write_ledger(self.path, self._rows(weights="cc", step=9)), 0)
        ledger.write_ledger(self.path, self._rows(weights="bb"))  # in place of the former
        rows = pq.read_table(self.path).to_pylist()
        counts = collections.Counter((row["step"], row["weights"]) for row in rows)
        self.assertEqual(counts, {(5, "aa"): 28, (5, "bb"): 28, (9, "cc"): 28})
        self.assertEqual({row["chosen_on"] for row in rows}, {self.found.chosen_on})
        before = {(row["previous_step"], row["previous_weights"]) for row in rows if row["step"] == 9}
        self.assertEqual(before, {(5, "bb")})  # written last

    def test_a_ledger_of_an_earlier_release_grows(self):
        ledger.write_ledger(self.path, self._rows())
        pq.write_table(pq.read_table(self.path).drop_columns(["weights", "chosen_on", "previous_weights"]), self.path)
        self.assertEqual(ledger.write_ledger(self.path, self._rows(step=9, weights="aa")), 0)
        rows = pq.read_table(self.path).to_pylist()
        self.assertEqual([row["weights"] for row in rows], [None] * 28 + ["aa"] * 28)

    def test_two_processes_at_once_lose_nothing(self):
        ledger.write_ledger(self.path, self._rows(step=0))
        script = (
            "import json, pathlib, sys; from semppl.evaluation.advice import ledger\n"
            "path, model, rows = pathlib.Path(sys.argv[1]), sys.argv[2], json.load(sys.stdin)\n"
            "for step in range(1, 11): ledger.write_ledger(path, [row | dict(step=step, weights=model) for row in rows])"
        )
        rows = json.dumps(self._rows()).encode()
        processes = [
            subprocess.Popen([sys.executable, "-c", script, str(self.path), model], stdin=subprocess.PIPE)
            for model in ("aa", "bb")
        ]
        for process in processes:
            process.stdin.write(rows)
            process.stdin.close()
        self.assertEqual([process.wait(timeout=120) for process in processes], [0, 0])
        counts = collections.Counter((row["step"], row["weights"]) for row in pq.read_table(self.path).to_pylist())
        expected = {(step, model): 28 for step in range(1, 11) for model in ("aa", "bb")} | {(0, ""): 28}
        self.assertEqual(counts, expected)

    def test_a_ledger_that_cannot_be_written_stays_as_it_was(self):
        ledger.write_ledger(self.path, self._rows())
        before = self.path.read_bytes()
        with mock.patch.object(pq, "write_table", side_effect=OSError("full")), self.assertRaises(OSError):
            ledger.write_ledger(self.path, self._rows(step=9))
        self.assertEqual(self.path.read_bytes(), before)
        self.assertCountEqual([path.name for path in self.path.parent.iterdir()], [ledger.FILE, ledger.LOCK])

    def test_another_file_is_refused(self):
        self.path.write_text("no ledger", encoding="utf-8")
        with self.assertRaisesRegex(ValueError, "^--out must hold a ledger"):
            ledger.write_ledger(self.path, self._rows())


if __name__ == "__main__":
    absltest.main()
