"""Tests of semppl.export.update_memory."""

import contextlib
import csv
import hashlib
import io
import json
import pathlib
import re
import shutil
import tempfile

import numpy as np
import tensorflow as tf
from absl.testing import flagsaver, parameterized

from semppl.configs.similar_names import is_similar
from semppl.data.sources import load_source
from semppl.evaluation.exported import read_model
from semppl.evaluation.logistic_regression import fit_logistic_regression
from semppl.export import export_model, update_memory
from semppl.export.memory.calibration import CalibrationSettings
from semppl.export.memory.evidence import Evidence
from semppl.export.memory.labelled_pictures import LabelledPicture
from semppl.export.memory.memory_views import random_view
from semppl.export.model.assets import read_card
from semppl.export.model.variables import exchange_variables
from semppl.export.serving.model_versions import ModelVersions
from semppl.layers.inputs.preparation import inference_preparation
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run


def _digests(folder):
    """Of every variable that is not of the memory, and of the graph, which has the encoder's weights."""
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith("memory/")]
    values = {name: hashlib.sha256(np.asarray(reader.get_tensor(name)).tobytes()).hexdigest() for name in names[:]}
    return values | {"graph": hashlib.sha256((folder / "saved_model.pb").read_bytes()).hexdigest()}


class UpdateMemoryTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.exported = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        _, cls.network = write_run(cls.exported / "run")
        cls.card = export_model.export(cls.exported / "run", cls.exported / "1", command="the export")

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.model = self.folder / "served" / "digits" / "1"
        shutil.copytree(self.exported / "1", self.model)

    def _label_file(self, *labels):
        """Labels as many test digits, as PNG files; returns the file and the pixels."""
        images = np.round(load_source("digits").test.images[: len(labels)] * 255).astype(np.uint8)
        lines = ["path,label"]
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            (self.folder / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
            lines.append(f"{number}.png,{label}")
        file = self.folder / "new.csv"
        file.write_text("\n".join(lines))
        return file, images

    def _update(self, *labels):
        file, images = self._label_file(*labels)
        out = self.model.with_name("2")
        card = update_memory.update_memory(self.model, file, out, command="the update")
        return out, card, images

    def test_added_pictures_of_old_and_new_classes_are_remembered(self):
        out, card, images = self._update("7", "stripes", "7", "spots", "stripes")
        answer = tf.saved_model.load(str(out)).signatures["neighbours"]
        embeddings = self.network.project(images / np.float32(255))
        nearest = answer(embedding=tf.constant(embeddings))
        self.assertAllEqual(nearest["ids"][:, 0], 2**32 + np.arange(5))
        self.assertAllEqual(nearest["labels"][:, 0], [7, 10, 7, 11, 10])
        self.assertAllClose(nearest["similarities"][:, 0], np.ones(5), atol=1e-5)
        self.assertEqual((card["memory"]["labelled"], card["memory"]["classes"]), (25, 12))

    def test_a_new_class_is_answered(self):
        out, _, images = self._update("stripes")
        signatures = tf.saved_model.load(str(out)).signatures
        memory, _ = Evidence.load(out / "assets.extra" / "evidence.npz").build()
        answer = signatures["serving_default"](bytes=[tf.io.encode_png(images[0])])
        expected = memory.classify(self.network.project(images[:1] / np.float32(255)))
        self.assertAllClose(answer["probability"], expected["probability"], atol=1e-4)
        classified = signatures["classify_embeddings"](embedding=answer["embedding"])
        self.assertEqual(classified["probabilities"].shape, (1, 11))
        self.assertAllClose(classified["probabilities"], expected["probabilities"], atol=1e-4)

    def test_the_encoder_is_the_same_byte_for_byte_and_the_old_version_is_left_alone(self):
        before = {path: path.read_bytes() for path in self.model.rglob("*") if path.is_file()}
        out, _, _ = self._update("7", "stripes")
        self.assertEqual(_digests(out), _digests(self.model))
        self.assertContainsSubset({"graph", "ood_score/mean/.ATTRIBUTES/VARIABLE_VALUE"}, _digests(out))
        self.assertEqual(before, {path: path.read_bytes() for path in self.model.rglob("*") if path.is_file()})

    def test_what_travels_with_the_model_is_of_the_new_memory(self):
        out, card, _ = self._update("7", "stripes")
        self.assertEqual((out / "assets" / "class_names.txt").read_text().splitlines()[9:], ["9", "stripes"])
        with (out / "assets" / "labels.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        self.assertEqual(rows[0], ["id", "label", "class_name", "path"])
        self.assertEqual(rows[1][3], "")  # digits have no paths
        self.assertEqual(rows[-1], [str(2**32 + 1), "10", "stripes", str(self.folder / "1.png")])
        written = json.loads((out / "assets" / "model_card.json").read_text())
        self.assertEqual(written, card)
        self.assertEqual((written["command"], written["updated_from"]), ("the update", "the export"))
        self.assertEqual(written["new_classes"], {"stripes": 1})
        self.assertEqual(written["weights_sha256"], self.card["weights_sha256"])

    @testing.slow
    def test_an_updated_model_can_be_updated(self):
        second, _, _ = self._update("7", "stripes")
        third = self.model.with_name("3")
        file, _ = self._label_file("7", "stripes", "2", "3")  # the first two are remembered already
        card = update_memory.update_memory(second, file, third)
        self.assertEqual((card["memory"]["labelled"], card["memory"]["classes"]), (24, 11))
        file, _ = self._label_file("7", "stripes", "2", "4")
        with self.assertRaisesRegex(
            ValueError, r"not contradict.*3\.png .*new\.csv, line 5\), as '4', .* remembered as '3'"
        ):
            update_memory.update_memory(third, file, self.model.with_name("4"))
        shutil.copy(self.folder / "0.png", self.folder / "1.png")
        with self.assertRaisesRegex(
            ValueError, r"one label: .*1\.png .*, as 'stripes', the same picture as .*new\.csv, line 2, as '7'$"
        ):
            update_memory.update_memory(self.model, file, self.model.with_name("4"))
        ids = Evidence.load(third / "assets.extra" / "evidence.npz").memory.ids
        self.assertAllEqual(ids[-4:], 2**32 + np.arange(4))

    def test_what_cannot_be_done_is_refused_and_leaves_nothing(self):
        file, _ = self._label_file("7", "8")
        out = self.model.with_name("2")
        (self.folder / "1.png").write_bytes(b"no picture")
        with self.assertRaisesRegex(ValueError, r"--labels must name whole pictures.*1\.png .*new\.csv, line 3"):
            update_memory.update_memory(self.model, file, out)
        with self.assertRaisesRegex(ValueError, "--model must be the folder of an exported model with a labelled mem"):
            update_memory.update_memory(self.folder, file, out)
        meant = rf"^--model must be .*; did you mean {self.model}\?$"
        with self.assertRaisesRegex(ValueError, meant):
            update_memory.update_memory(self.model.parent, file, out)
        with self.assertRaisesRegex(ValueError, meant):
            read_card(self.model.parent)
        with self.assertRaisesRegex(ValueError, meant):
            read_model(self.model.parent)
        with self.assertRaisesRegex(ValueError, rf"^--model_base_path must be .*; did you mean {self.model.parent}\?$"):
            ModelVersions("digits", self.model)
        swapped = self.folder / "swapped.csv"
        swapped.write_text("path,label\n7,0.png\n")
        with self.assertRaisesRegex(
            ValueError, r"--labels must name existing pictures.*line 2\); are path and label sw"
        ):
            update_memory.update_memory(self.model, swapped, out)
        with self.assertRaisesRegex(ValueError, "--out must be a new folder"):
            update_memory.update_memory(self.model, file, self.model)
        self.assertEqual([path.name for path in self.model.parent.iterdir()], ["1"])

    @parameterized.parameters(("float32", 24), ("bfloat16", 0))
    def test_pictures_that_training_remembers_are_not_added_again(self, dtype, shrink):
        rng, pictures = np.random.default_rng(0), self.folder / "pictures"
        lines = ["path,label"]
        for number in range(24):
            path = pictures / "ab"[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = tf.image.resize(rng.uniform(0, 255, (5, 5, 3)), [40 + number, 61], "bicubic")
            path.write_bytes(tf.io.encode_jpeg(tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)).numpy())
            lines.append(f"pictures/{path.relative_to(pictures)},{path.parent.name}")
        reading = {"data": f"folder:{pictures}?labels=folders", "test": "0.25", "labels_per_class": 3, "shrink": shrink}
        colours = {"channels": 3, "pixel_mean": (0.5,) * 3, "pixel_stddev": (0.25,) * 3, "recipe": "cifar"}
        write_run(self.folder / "run", **reading, **colours, large_size=16)
        export_model.export(self.folder / "run", self.folder / "own" / "1", dtype=dtype)
        file = self.folder / "same.csv"
        file.write_text("\n".join(lines))
        report = []
        card = update_memory.update_memory(
            self.folder / "own" / "1", file, self.folder / "own" / "2", say=lambda *counts: report.append(counts)
        )
        self.assertEqual(report, [(24 - 6, 24)])
        before = Evidence.load(self.folder / "own" / "1" / "assets.extra" / "evidence.npz")
        after = Evidence.load(self.folder / "own" / "2" / "assets.extra" / "evidence.npz")
        self.assertLen(set(before.paths.values()), 6)
        for identifier, path in before.paths.items():
            self.assertTrue((pictures / path).is_file())
            label = before.memory.labels[before.memory.ids.tolist().index(identifier)]
            self.assertEqual(pathlib.Path(path).parent.name, before.class_names[label])
        self.assertContainsSubset(before.paths, after.paths)
        self.assertLen(after.paths, 24)
        self.assertTrue(
            all(path.startswith(str(pictures)) for path in set(after.paths.values()) - set(before.paths.values()))
        )
        self.assertLen(set(after.memory.fingerprints.tolist()), 24)
        self.assertContainsSubset(before.held_out.fingerprints.tolist(), after.memory.fingerprints.tolist())
        # What is held out does not vote for itself.
        similarities = after._similarities(after.held_out)
        self.assertAllEqual(np.isneginf(similarities).sum(1), np.ones(len(after.held_out)))
        self.assertEqual(card["memory"]["labelled"], 24)

    @parameterized.parameters(("class_means", 1), ("logistic_regression", 3))
    @testing.slow
    def test_other_answers_are_fitted_again_as_in_a_rebuilt_export(self, answers, views):
        run = self.folder / "run"
        settings, network = write_run(run, recipe="digits", labels_per_class=4)
        export_model.export(run, self.folder / "served" / "other" / "1", answers=answers, memory_views=views)
        self.model = self.folder / "served" / "other" / "1"
        out, card, images = self._update("stripes", "7", "stripes", "7", "stripes")
        evidence = Evidence.load(out / "assets.extra" / "evidence.npz")
        self.assertEqual((evidence.answers, evidence.views), (answers, views))
        memory = evidence.memory
        parts = [images, *(random_view(images, settings, number) for number in range(1, views))]
        embedded = [network.project(inference_preparation(8, centre_crop=1.0)(part)).numpy() for part in parts]
        mean = np.mean(embedded, 0)
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        self.assertAllClose(memory.embeddings[40:], expected, atol=1e-5)
        self.assertAllEqual(memory.labels[40:], [10, 7, 10, 7, 10])
        queries = evidence.held_out.embeddings
        if answers == "class_means":
            means = np.stack([memory.embeddings[memory.labels == name].mean(0) for name in range(11)])
            logits = queries @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        else:
            fitted = fit_logistic_regression(memory.embeddings, memory.labels, population=evidence.population)
            logits = fitted.logits(queries) / np.linalg.norm(fitted.kernel, axis=0).max()
        expected = np.exp(logits / card["memory"]["temperature"])
        expected /= expected.sum(1, keepdims=True)
        answer = tf.saved_model.load(str(out)).signatures["classify_embeddings"](embedding=tf.constant(queries))
        self.assertAllClose(answer["probabilities"], expected, atol=5e-3)
        rebuilt, _ = evidence.build()
        self.assertAllClose(answer["probabilities"], rebuilt.classify(queries)["probabilities"], atol=1e-5)
        before = tf.saved_model.load(str(self.model)).signatures["classify_embeddings"](embedding=tf.constant(queries))
        self.assertNotAllClose(answer["probabilities"][:, :10], before["probabilities"], atol=0.02)
        self.assertEqual(card["memory"]["answers"], answers)
        third = self.model.with_name("3")
        file, _ = self._label_file("stripes", "7", "stripes", "7", "stripes", "spots")
        card = update_memory.update_memory(out, file, third)
        self.assertEqual((card["memory"]["classes"], card["memory"]["labelled"]), (12, 46))

    def test_a_model_that_was_exported_before_there_were_other_answers_is_updated(self):
        path = self.model / "assets.extra" / "evidence.npz"
        with np.load(path) as arrays:
            new = ("answers", "views", "population_mean", "population_variances")
            older = {name: arrays[name] for name in arrays if name not in new}
        np.savez(path, **older)
        out, card, _ = self._update("7", "stripes")
        self.assertEqual((card["memory"]["labelled"], card["memory"]["answers"]), (22, "vote"))
        self.assertEqual(
            tf.saved_model.load(str(out)).signatures["neighbours"].structured_outputs["ids"].dtype, tf.int64
        )

    @parameterized.parameters(
        ("packshot", "Packshot"),
        ("T-Shirt", "t shirt"),
        ("Packshots", "Packshot"),
        ("Dresses", "dress"),
        ("cats", "cat"),
        ("Pakcshot", "Packshot"),
        ("Packshat", "Packshot"),
        ("ackshot", "Packshot"),
        ("café", "Cafe"),
    )
    def test_names_that_are_nearly_the_same_are_asked_about(self, name, other):
        self.assertTrue(is_similar(name, other))
        self.assertTrue(is_similar(other, name))
        picture = LabelledPicture(self.folder, name, "new.csv, line 3")
        with self.assertRaisesRegex(
            ValueError, f"--similar_names. Received: '{name}' \\(new.csv, line 3\\) beside '{other}'$"
        ):
            update_memory.require_distinct(("7", other), [picture])
        old = LabelledPicture(self.folder, other, "new.csv, line 2")
        with self.assertRaisesRegex(ValueError, f"beside '{other}'$"):  # both are new
            update_memory.require_distinct(("7",), [old, picture])
        update_memory.require_distinct((name, other), [old, picture])

    @parameterized.parameters(
        ("cat", "car"), ("class 1", "class 11"), ("stripes", "spots"), ("shirt", "shorts"), ("日", "月")
    )
    def test_names_that_differ_are_new_classes(self, name, other):
        self.assertFalse(is_similar(name, other))
        self.assertFalse(is_similar(other, name))

    def test_a_similar_name_is_a_new_class_if_it_is_allowed_and_new_classes_are_named(self):
        second, _, _ = self._update("stripes")
        file, _ = self._label_file("stripes", "Stripes", "Stripes", "dots")
        values = {"model": str(second), "labels": str(file), "out": str(self.model.with_name("3"))}
        errors, printed = io.StringIO(), io.StringIO()
        with (
            flagsaver.flagsaver(**values),
            contextlib.redirect_stderr(errors),
            contextlib.redirect_stdout(printed),
        ):
            self.assertEqual(update_memory.main([]), 2)
            with flagsaver.flagsaver(similar_names=True):
                self.assertEqual(update_memory.main([]), 0)
        self.assertIn("'Stripes' (", errors.getvalue())
        self.assertIn("new: Stripes (2), dots (1)\n", printed.getvalue())

    def test_a_variable_that_is_not_there_is_not_exchanged(self):
        (self.folder / "copy").mkdir()
        with self.assertRaisesRegex(ValueError, "must have a variable to exchange. Received: memory/colour"):
            exchange_variables(self.model, self.folder / "copy", {"memory/colour": tf.constant(0)})

    def test_the_command_says_how_good_it_is_and_ends_in_one_line_if_it_is_not(self):
        file, _ = self._label_file("7")
        values = {"model": str(self.model), "labels": str(file), "out": str(self.model.with_name("2"))}
        printed = io.StringIO()
        with flagsaver.flagsaver(**values), contextlib.redirect_stdout(printed):
            self.assertEqual(update_memory.main([]), 0)
            self.assertEqual(update_memory.main([]), 2)
        self.assertRegex(
            printed.getvalue(), r"on 148 test images \(calibrated on 149 other test images\): accuracy 0\.\d+"
        )
        self.assertRegex(
            printed.getvalue(),
            r"\nwarning: this model never answers: .*; with --target_(risk|coverage)=0\.\d it answers ",
        )
        base = self.model.parent
        serve = f"serve --model_name=digits --model_base_path={base}"
        self.assertRegex(printed.getvalue(), rf"\nnext:\n  .*{serve}\n  .*client --model_name=digits PICTURE\.jpg\n$")

    def test_the_advice_of_a_model_that_never_answers_works_when_it_is_copied(self):
        file, _ = self._label_file("7")
        second, third = self.model.with_name("2"), self.model.with_name("3")
        warning = update_memory.update_memory(self.model, file, second)["memory"]["warning"]
        advised = re.search(r"; with --(\w+)=([\d.]+) it answers (\d+\.\d%)", warning)
        values = {"model": str(second), "labels": str(file), "out": str(third), advised[1]: float(advised[2])}
        printed = io.StringIO()
        with flagsaver.flagsaver(**values), contextlib.redirect_stdout(printed):
            self.assertEqual(update_memory.main([]), 0)
        self.assertIn(f", answers {advised[3]} of them", printed.getvalue())
        self.assertNotIn("never answers", printed.getvalue())
        trust = Evidence.load(third / "assets.extra" / "evidence.npz").settings
        self.assertEqual(trust, CalibrationSettings().replaced({advised[1]: float(advised[2])}))


if __name__ == "__main__":
    tf.test.main()
