"""Tests of semppl.evaluation.suggest, suspects and label, on a folder of pictures and a run with random weights."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import pathlib
import re
import shutil
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized
from PIL import Image

from semppl.data.sources import load_source
from semppl.evaluation import label as label_program
from semppl.evaluation import suggest as suggest_program
from semppl.evaluation import suspects as suspects_program
from semppl.evaluation.advice import embedded as inputs
from semppl.evaluation.advice.embedded import embedded_by_encoder, embedded_by_model, embedded_by_run
from semppl.evaluation.label import label
from semppl.evaluation.suggest import suggest
from semppl.evaluation.suspects import suspects
from semppl.export import export_model
from semppl.programs.advice import advice_flags
from semppl.runs.folder import write_trained_parts
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.tests.export.random_runs import write_run

_NAMES = ("a, b", 'c"d')


def _read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


class ProgramsTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.pictures = cls.folder / "pictures"
        cls.pictures.mkdir()
        rng = np.random.default_rng(0)
        rows = [["path", "label", "id"]]
        for number in range(40):
            pixels = rng.integers(0, 90, (12, 12), np.uint8) + np.uint8(160 * (number % 2)) * np.eye(12, dtype=np.uint8)
            Image.fromarray(pixels).save(cls.pictures / f"{number:02}.png")
            rows.append([f"{number:02}.png", _NAMES[number % 2] if number < 20 else "", f"id{number // 2}"])
        shutil.copy(cls.pictures / "00.png", cls.pictures / "01.png")  # of the other class
        with (cls.pictures / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        changes = {"channels": 1, "data": f"folder:{cls.pictures}?labels=labels.csv", "labels_per_class": 0}
        write_run(cls.folder / "run", **changes)

    def setUp(self):
        super().setUp()
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        self.embedded = embedded_by_run(self.folder / "run")
        self.out = pathlib.Path(self.create_tempdir().full_path) / "out"

    def test_suggestions_are_taken_back_as_labels_with_all_that_was_known(self):
        rows, why = suggest(self.embedded, self.out, count=6)
        self.assertStartsWith(why, "uncertain")  # ten labels of each class
        table = _read(self.out / "labels.csv")
        self.assertEqual(table[0], ["path", "label", "id"])
        self.assertEqual([row[0] for row in table[1:7]], [f"{row:02}.png" for row in rows])
        self.assertEqual({row[1] for row in table[1:7]}, {""})
        self.assertLen(table, 41)  # those without a label have an identity
        for row in table[1:7]:
            row[1] = 'c"d'
        (self.out / "filled.csv").write_text("", encoding="utf-8")
        with (self.out / "filled.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(table)
        again = load_source(f"folder:{self.pictures}?labels={self.out}/filled.csv").train
        self.assertEqual(again.labels[rows].tolist(), [1] * 6)
        self.assertEqual(again.labels[:20].tolist(), [0, 1] * 10)
        self.assertEqual(again.groups[2], again.groups[3])

    def test_the_page_to_label_from_needs_nothing_else_and_has_the_table(self):
        rows, _ = suggest(self.embedded, self.out, count=6, strategy="typical")
        page = (self.out / "labels.html").read_text(encoding="utf-8")
        self.assertEqual(page.count('<img alt="" src="data:image/png;base64,'), 6)
        self.assertEqual(page.count("<input "), 6)
        self.assertNotRegex(page, r"(src|href)=\"?https?:|url\(|@import")
        self.assertIn('<option value="a, b"><option value="c&quot;d">', page)
        table = json.loads(re.search(r"const table = (.*);\n", page)[1])
        self.assertEqual(table, _read(self.out / "labels.csv"))
        self.assertLen(rows, 6)

    def test_suspects_are_ranked_with_reasons(self):
        found, why = suspects(self.embedded, self.out, count=7)
        table = _read(self.out / "suspects.csv")
        self.assertEqual(table[0], ["rank", "path", "label", "neighbours_label", "score", "reasons"])
        self.assertEqual(table[1][:3], ["1", "00.png", "a, b"])
        self.assertStartsWith(table[1][5], "a duplicate has another label (1)")
        self.assertEqual(table[2][1:3], ["01.png", 'c"d'])
        self.assertLen(table, len(found) + 1)
        self.assertLessEqual(len(found), 7)
        page = (self.out / "suspects.html").read_text(encoding="utf-8")
        self.assertEqual(page.count("<li>"), len(found))
        self.assertIn("margin of the leave-one-out vote", why)
        self.assertNotRegex(page, r"(src|href)=\"?https?:|url\(|<script")

    def test_pictures_get_a_label_a_probability_and_an_abstention(self):
        report = label(self.embedded, self.out, min_probability=0.6)
        table = _read(self.out / "labels.csv")
        self.assertEqual(table[0], ["path", "label", "class", "probability", "abstain", "chosen_on"])
        self.assertLen(table, 21)
        for path, given, class_name, probability, abstain, chosen_on in table[1:]:
            self.assertEqual(chosen_on, "cross_validation")
            self.assertGreaterEqual(int(path[:2]), 20)
            self.assertEqual(abstain, str(float(probability) < 0.6).lower())
            self.assertEqual(given, "" if abstain == "true" else class_name)
        self.assertEqual(report["labelled"], sum(row[4] == "false" for row in table[1:]))
        self.assertTrue((self.out / "pseudo_labels.parquet").is_file())
        self.assertTrue(report["optimistic"])
        later = dataclasses.replace(self.embedded, step=8, trained_on_labels=False)
        report = label(later, self.out)
        self.assertEqual((report["changed"], report["optimistic"]), (0, False))

    def test_features_are_those_of_the_run_or_joint_ones_or_those_of_a_model(self):
        joint = embedded_by_run(self.folder / "run", joint=True)
        width = self.embedded.features.shape[1]
        self.assertEqual(joint.features.shape, (40, width + 8))
        self.assertTrue(joint.trained_on_labels)
        self.assertIn("step 7", joint.origin)
        served = self.folder / "served" / "1"
        export_model.export(self.folder / "run", served, embedding="features", fine_tunable=False)
        model = embedded_by_model(served)
        norms = np.linalg.norm(self.embedded.features, axis=1, keepdims=True)
        self.assertAllClose(model.features, self.embedded.features / norms, atol=1e-4)
        self.assertEqual(model.class_names, _NAMES)
        self.assertEqual(model.labels.tolist(), self.embedded.labels.tolist())
        self.assertEqual((model.weights, model.step), (self.embedded.weights, 7))

    def test_held_out_pictures_of_a_run_are_read_when_they_are_asked_for(self):
        held_out = f"folder:{self.pictures}?labels=labels.csv"
        for split, other in (("test", "validation"), ("validation", "test")):
            embedded = embedded_by_run(self.folder / "run", {split: held_out})
            self.assertIsNone(embedded.held_out(other))
            features, labels = embedded.held_out(split)
            self.assertEqual(labels.tolist(), [0, 1] * 10)
            self.assertAllClose(features, self.embedded.features[:20], atol=1e-5)
            with mock.patch.object(inputs, "_MOST_HELD_OUT", 5):
                self.assertLen(embedded.held_out(split)[1], 5)

    def test_validation_pictures_decide_and_test_pictures_are_reported(self):
        features, labels = self.embedded.features[:20], self.embedded.labels[:20]
        pictures = {"test": (features, 1 - labels)}
        report = label(self._changed(held_out=pictures.get), self.out, min_probability=0.0)
        self.assertEqual((report["chosen_on"], report["test"]["coverage"]), ("cross_validation", 1))
        self.assertTrue(label(self._changed(held_out=pictures.get, trained_on_labels=True), self.out)["optimistic"])
        pictures["validation"] = features[:6], labels[:6]
        report = label(self._changed(held_out=pictures.get, trained_on_labels=True), self.out, min_probability=0.0)
        self.assertEqual((report["chosen_on"], report["coverage"]), ("validation", 1))
        self.assertFalse(report["optimistic"])
        self.assertAlmostEqual(report["accuracy"], report["held_out"][report["method"]])
        lines = label_program._lines(report)
        self.assertStartsWith(lines[0], "chosen on the validation pictures: accuracy vote ")
        self.assertStartsWith(lines[2], "of the test pictures, which were not used to choose, 100.0% get a label, and ")
        self.assertLen(label_program._lines(report | {"held_out": {}}), 1)

    def test_features_are_joint_if_the_run_trains_its_projector(self):
        run = pathlib.Path(self.create_tempdir().full_path) / "run"
        settings = {"channels": 1, "data": f"folder:{self.pictures}?labels=labels.csv", "labels_per_class": 0}
        write_run(run, queue=False, **settings)
        width = self.embedded.features.shape[1]
        for parts, joint in (
            (("encoder", "projector"), True),
            (("encoder", "classifier"), False),
            (("projector",), True),
        ):
            write_trained_parts(run, parts)
            self.assertEqual(embedded_by_run(run, joint=True).features.shape[1], width + 8 * joint)
        (run / "trained_parts.json").unlink()  # of an earlier release: without a classifier, the projector was trained
        self.assertEqual(embedded_by_run(run, joint=True).features.shape[1], width + 8)

    def test_models_are_told_apart_by_their_weights(self):
        digests = {self.embedded.weights, embedded_by_run(self.folder / "run", joint=True).weights}
        self.assertLen(digests, 1)
        self.assertLen(self.embedded.weights, 64)
        other = pathlib.Path(self.create_tempdir().full_path) / "run"
        changes = {"channels": 1, "data": f"folder:{self.pictures}?labels=labels.csv", "labels_per_class": 0}
        write_run(other, seed=5, **changes)
        self.assertNotIn(embedded_by_run(other).weights, digests)

    def test_a_folder_that_another_process_begins_is_taken(self):
        self.out.mkdir()
        (self.out / ".pseudo_labels.lock").touch()
        self.assertEqual(label(self.embedded, self.out)["pictures"], 20)

    def test_an_encoder_needs_no_run_and_no_label(self):
        encoder = tf.keras.applications.MobileNet(
            include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3)
        )
        path = pathlib.Path(self.create_tempdir().full_path) / "mine.weights.h5"
        encoder.save_weights(path)
        settings = dataclasses.replace(
            self.embedded.hyperparameters,
            data=f"folder:{self.pictures}",
            channels=3,
            encoder="keras:MobileNet",
            width=1.0,
            norm="batch",
            pixel_mean=(0.5,) * 3,
            pixel_stddev=(0.5,) * 3,
            large_size=32,
            initial_weights=str(path),
        )
        found = embedded_by_encoder(settings)
        self.assertEqual((found.features.shape, found.class_names, found.step), ((40, 1024), (), 0))
        self.assertEqual(found.weights, hashlib.sha256(path.read_bytes()).hexdigest())
        rows, why = suggest(found, self.out, count=5)
        self.assertLen(set(rows.tolist()), 5)
        self.assertStartsWith(why, "typical")
        with self.assertRaisesRegex(ValueError, "^--initial_weights must be imagenet, or a file, with an encoder"):
            embedded_by_encoder(dataclasses.replace(settings, initial_weights=""))

    def _changed(self, **changes):
        return dataclasses.replace(self.embedded, **changes)

    def test_what_cannot_be_advised_on_is_refused(self):
        with self.assertRaisesRegex(ValueError, "^The features of .* must be finite. Received: NaN or Inf for 2 of 40"):
            self._changed(features=np.where(np.arange(40)[:, None] < 2, np.nan, self.embedded.features))
        none, one = np.full(40, -1), np.where(np.arange(40) == 0, 0, -1)
        with self.assertRaisesRegex(ValueError, "^--data must have two or more labelled pictures. Received: 1$"):
            suspects(self._changed(labels=one), self.out)
        for labels, classes in ((none, 0), (one, 1)):
            with self.assertRaisesRegex(ValueError, f"labels of two or more classes. Received: {classes} class(es)?$"):
                label(self._changed(labels=labels), self.out)
        with self.assertRaisesRegex(ValueError, "^--data must have pictures without a label. Received: 40 pictures"):
            label(self._changed(labels=np.arange(40) % 2), self.out)
        with self.assertRaisesRegex(ValueError, "^--count must be in 1..20, .* Received: 21$"):
            suggest(self.embedded, self.out, count=21)
        self.assertFalse(self.out.exists())
        self.out.mkdir()
        for program in (suggest, suspects, label):
            with self.assertRaisesRegex(ValueError, "^--out must be a new folder"):
                program(self.embedded, self.out)
        empty = pathlib.Path(self.create_tempdir().full_path)
        shutil.copy(self.folder / "run" / "hyperparameters.json", empty)
        with self.assertRaisesRegex(ValueError, "^--workdir must hold a checkpoint"):
            embedded_by_run(empty)
        with self.assertRaisesRegex(ValueError, "^--model must be the folder of an exported model"):
            embedded_by_model(empty)

    def test_one_class_is_not_doubted_but_duplicates_and_outliers_are_listed(self):
        found, why = suspects(self._changed(labels=np.zeros(40, np.int32)), self.out)
        self.assertStartsWith(why, "Labels are of one class")
        self.assertTrue(all(suspect.reasons == ("unlike all other pictures",) for suspect in found))

    def test_programs_print_what_they_wrote(self):
        for program, expected in (
            (suggest_program, "6 pictures to label: uncertain"),
            (suspects_program, "suspicious pictures in "),
            (label_program, "20 pictures labelled by "),
        ):
            out, printed = str(self.out / program.__name__), io.StringIO()
            self.out.mkdir(exist_ok=True)
            with (
                flagsaver.flagsaver(workdir=str(self.folder / "run"), out=out, count=6),
                contextlib.redirect_stdout(printed),
            ):
                self.assertEqual(program.main([]), 0)
            self.assertIn(expected, printed.getvalue())

    def test_exactly_one_of_run_model_and_encoder_is_taken(self):
        with (
            flagsaver.flagsaver(workdir="a", model="b"),
            self.assertRaisesRegex(ValueError, "^--model must be left out"),
        ):
            advice_flags.check()
        with flagsaver.flagsaver():
            flags.FLAGS["encoder"].parse("resnet18")
            with flagsaver.flagsaver(workdir="a"):
                flags.FLAGS["encoder"].present = 1
                with self.assertRaisesRegex(
                    ValueError, "^--encoder must be left out beside --workdir. Received: resnet18"
                ):
                    advice_flags.check()
        with flagsaver.flagsaver(workdir="a"):
            self.assertEqual(advice_flags.source_from_flags()[:2], ("workdir", "a"))


if __name__ == "__main__":
    tf.test.main()
