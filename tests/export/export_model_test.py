"""Tests of semppl.export.export_model and of what it writes."""

import contextlib
import csv
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import flagsaver, parameterized
from tensorflow.core.protobuf import saved_model_pb2

from semppl.data.sources import load_source
from semppl.evaluation.logistic_regression import fit_logistic_regression
from semppl.export import export_model
from semppl.export.memory.calibration import CalibrationSettings
from semppl.export.memory.evidence import Evidence
from semppl.export.memory.memory_views import random_view
from semppl.export.memory.run_images import RunImages
from semppl.export.model import embedder, warmup
from semppl.layers.inputs.preparation import fingerprints, inference_preparation
from semppl.programs.extras import has_extra
from semppl.runs import checkpoints
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run

EMBEDDING = {"serving_default", "embed_bytes", "embed_images"}
ANSWERING = EMBEDDING | {"classify_embeddings", "neighbours", "ood"}

ASK = """
import sys
import numpy as np
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
pictures = [tf.io.read_file(path) for path in sys.argv[3:]]
answers = {"serving_default": signatures["serving_default"](bytes=pictures)}
answers["embed_bytes"] = signatures["embed_bytes"](bytes=pictures)
answers["ood"] = signatures["ood"](bytes=pictures)
for name in ("classify_embeddings", "neighbours"):
    answers[name] = signatures[name](embedding=3 * answers["embed_bytes"]["embedding"])
assert not [name for name in sys.modules if name.split(".")[0] == "semppl"]
np.savez(sys.argv[2], **{f"{name}/{key}": value for name, part in answers.items() for key, value in part.items()})
"""


def _constant_bytes(served):
    """Of what the graph's functions hold: the weights, and little else."""
    file = saved_model_pb2.SavedModel.FromString((served / "saved_model.pb").read_bytes())
    functions = file.meta_graphs[0].graph_def.library.function
    constants = (node.attr["value"].tensor for f in functions for node in f.node_def if node.op == "Const")
    return sum(tf.make_ndarray(constant).nbytes for constant in constants)


class ExportTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.exported = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        cls.made = {}

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def _export(self, *, run=None, version="1", **settings):
        """Exports a run with random weights; what another test exported with the same settings is copied."""
        made, target = repr((run, settings)), self.folder / "served" / "digits" / version
        if made not in self.made:
            folder = self.exported / str(len(self.made))
            described = write_run(folder / "run", **run or {})
            card = export_model.export(folder / "run", folder / "digits" / version, **settings)
            self.made[made] = (folder / "digits" / version, *described, card)
        source, self.settings, self.network, self.card = self.made[made]
        shutil.copytree(source, target)
        return target

    def _pictures(self):
        """Five PNG files of digits, one of them broken."""
        images = np.round(load_source("digits").test.images[:5] * 255).astype(np.uint8)
        paths = []
        for number, image in enumerate(images):
            encoded = tf.io.encode_png(image).numpy()
            paths.append(self.folder / f"{number}.png")
            paths[-1].write_bytes(encoded[:30] if number == 2 else encoded)
        return images, [str(path) for path in paths]

    def test_every_signature_answers_in_a_process_without_this_project(self):
        served = self._export(calibration_settings=CalibrationSettings(target_risk=0.0, target_coverage=0.5))
        images, paths = self._pictures()
        out = self.folder / "out.npz"
        command = [sys.executable, "-c", ASK, str(served), str(out), *paths]
        subprocess.run(command, check=True, cwd=self.folder, capture_output=True)
        answer = np.load(out, allow_pickle=True)
        valid = np.array([True, True, False, True, True])
        prepared = inference_preparation(8, centre_crop=1.0)(images)
        expected = self.network.project(prepared).numpy() * valid[:, np.newaxis]
        memory, report = Evidence.load(served / "assets.extra" / "evidence.npz").build()
        classified = memory.classify(expected)
        nearest = memory.neighbours(expected, k=10)
        for signature in ("serving_default", "embed_bytes"):
            self.assertAllClose(answer[f"{signature}/embedding"], expected, atol=1e-5)
            self.assertAllEqual(answer[f"{signature}/valid"], valid)
        for name in ("label", "probability", "abstain"):
            self.assertAllClose(answer[f"serving_default/{name}"][valid], classified[name][valid], atol=1e-5)
        self.assertAllEqual(answer["serving_default/label"][~valid], [-1])
        self.assertAllEqual(answer["serving_default/abstain"][~valid], [True])
        self.assertAllEqual(answer["serving_default/class_name"][valid], classified["class_name"][valid])
        self._assert_out_of_distribution_score(answer, valid, self.network.features(prepared).numpy())
        for name in ("probabilities", "prediction_set", "probability", "label"):
            self.assertAllClose(answer[f"classify_embeddings/{name}"][valid], classified[name][valid], atol=1e-5)
        self.assertAllEqual(answer["neighbours/ids"][valid], nearest["ids"][valid])
        self.assertAllClose(answer["neighbours/similarities"][valid], nearest["similarities"][valid], atol=1e-5)
        self.assertEqual(report, self.card["memory"])

    def _assert_out_of_distribution_score(self, answer, valid, features):
        images = RunImages(
            self.create_tempdir().full_path, self.settings, inference_preparation(8, centre_crop=1.0), fingerprints
        )
        expected = images.ood_score(self.network.features)[0].percentile(features)
        self.assertAllClose(answer["ood/distance"][valid], expected["distance"][valid], rtol=1e-3)
        for signature in ("ood", "serving_default"):
            self.assertAllClose(answer[f"{signature}/ood"][valid], expected["ood"][valid], atol=0.3)
            self.assertAllEqual(answer[f"{signature}/ood"][~valid], [100.0])
            self.assertAllEqual(answer[f"{signature}/valid"], valid)

    def test_names_types_and_free_sizes_are_as_documented(self):
        signatures = tf.saved_model.load(str(self._export(num_neighbours=3))).signatures
        self.assertEqual(set(signatures), ANSWERING)
        inputs = {
            name: {
                key: (spec.dtype, spec.shape.as_list()) for key, spec in function.structured_input_signature[1].items()
            }
            for name, function in signatures.items()
        }
        encoded = {"bytes": (tf.string, [None])}
        embedding = {"embedding": (tf.float32, [None, 8])}
        self.assertEqual(inputs["serving_default"], encoded)
        self.assertEqual(inputs["embed_bytes"], encoded)
        self.assertEqual(inputs["embed_images"], {"images": (tf.float32, [None, None, None, 1])})
        self.assertEqual(inputs["ood"], encoded)
        for name in ("classify_embeddings", "neighbours"):
            self.assertEqual(inputs[name], embedding)
        outputs = {
            name: {key: (spec.dtype, spec.shape.as_list()) for key, spec in function.structured_outputs.items()}
            for name, function in signatures.items()
        }
        row, rows = [None], [None, None]
        embedded = {"embedding": (tf.float32, [None, 8]), "valid": (tf.bool, row)}
        label = {
            "label": (tf.int32, row),
            "class_name": (tf.string, row),
            "probability": (tf.float32, row),
            "abstain": (tf.bool, row),
        }
        self.assertEqual(outputs["embed_bytes"], embedded)
        self.assertEqual(outputs["embed_images"], embedded)
        self.assertEqual(outputs["serving_default"], label | embedded | {"ood": (tf.float32, row)})
        self.assertEqual(
            outputs["classify_embeddings"],
            label | {"probabilities": (tf.float32, rows), "prediction_set": (tf.bool, rows)},
        )
        self.assertEqual(
            outputs["neighbours"],
            {"ids": (tf.int64, rows), "labels": (tf.int32, rows), "similarities": (tf.float32, rows)},
        )
        self.assertEqual(
            outputs["ood"], {"distance": (tf.float32, row), "ood": (tf.float32, row), "valid": (tf.bool, row)}
        )

    def test_no_rows_are_answered_by_no_rows(self):
        for name, function in tf.saved_model.load(str(self._export())).signatures.items():
            ((key, spec),) = function.structured_input_signature[1].items()
            answer = function(**{key: tf.zeros([0, *(side or 9 for side in spec.shape[1:])], spec.dtype)})
            for output, values in answer.items():
                whole = function.structured_outputs[output].shape
                self.assertTrue(whole.is_compatible_with(values.shape), (name, output, values.shape))
                self.assertEqual(values.shape[0], 0, (name, output))

    def test_an_embedding_without_a_direction_has_no_class_and_no_neighbour(self):
        signatures = tf.saved_model.load(str(self._export())).signatures
        embedding = np.zeros((4, 8), np.float32)
        embedding[1, 2], embedding[2, 3], embedding[3, 0] = np.nan, np.inf, 5
        answer = signatures["classify_embeddings"](embedding=tf.constant(embedding))
        self.assertAllEqual(answer["label"][:3], [-1, -1, -1])
        self.assertAllEqual(answer["class_name"][:3], [b"", b"", b""])
        self.assertAllEqual(answer["abstain"][:3], [True, True, True])
        self.assertAllEqual(answer["prediction_set"][:3], np.ones((3, 10), bool))
        self.assertAllEqual(answer["probability"][:3], np.zeros(3))
        self.assertGreaterEqual(answer["label"][3], 0)
        self.assertAllClose(tf.reduce_sum(answer["probabilities"], 1), [0, 0, 0, 1])
        neighbours = signatures["neighbours"](embedding=tf.constant(embedding))
        self.assertAllEqual(neighbours["ids"][:3], np.full((3, 10), -1))
        self.assertAllInRange(neighbours["labels"][3], 0, 9)

    def test_images_without_pixels_are_not_valid(self):
        embed = tf.saved_model.load(str(self._export(memory=False))).signatures["embed_images"]
        for height, width in ((0, 0), (0, 3), (3, 0)):
            answer = embed(images=tf.zeros([2, height, width, 1]))
            self.assertAllEqual(answer["valid"], [False, False])
            self.assertAllEqual(answer["embedding"], np.zeros([2, 8]))

    def test_images_that_are_no_numbers_are_not_valid(self):
        served = tf.saved_model.load(str(self._export(memory=False)))
        images = load_source("digits").test.images[:3].copy()
        images[1, 4, 4] = np.nan
        answer = served.signatures["embed_images"](images=tf.constant(images))
        self.assertAllEqual(answer["valid"], [True, False, True])
        self.assertAllEqual(answer["embedding"][1], np.zeros(8))
        self.assertAllClose(answer["embedding"][::2], self.network.project(images[::2]), atol=1e-5)

    def test_features_and_projections_are_served_together(self):
        served = tf.saved_model.load(str(self._export(embedding="joint")))
        images = load_source("digits").test.images[:4]
        embedding = served.signatures["embed_images"](images=tf.constant(images))["embedding"]
        self.assertAllClose(embedding, self.network.join_features(self.network.features(images)), atol=1e-5)
        self.assertEqual(self.card["embedding"]["kind"], "joint")

    def test_an_embedding_can_be_cut_to_its_first_numbers(self):
        served = tf.saved_model.load(str(self._export(embedding_dims=3)))
        images = load_source("digits").test.images[:4]
        first = self.network.project(images).numpy()[:, :3]
        embedding = served.signatures["embed_images"](images=tf.constant(images))["embedding"]
        self.assertAllClose(embedding, first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-5)
        report = self.card["embedding"].pop("against_all_dims")
        self.assertEqual(self.card["embedding"], {"kind": "projections", "width": 3, "dtype": "float32"})
        accuracy = self.card["memory"]["measured"]["accuracy"]
        self._export(version="3")
        before = self.card["memory"]["measured"]["accuracy"]
        self.assertNotEqual(before, accuracy)
        self.assertEqual(report, {"accuracy_with_all_dims": before, "loss_of_accuracy": before - accuracy})
        with self.assertRaisesRegex(ValueError, r"--embedding_dims must be in 0\.\.8\. Received: 9"):
            self._export(version="2", embedding_dims=9)

    @parameterized.parameters(
        ({"embedding_dims": 3}, "--embedding=projections --embedding_dims=3"),
        ({"embedding": "features", "embedding_dims": 4}, "--embedding=features --embedding_dims=4"),
        ({"embedding_dims": 4}, ""),
        ({"embedding_dims": 8}, ""),
        ({}, ""),
    )
    def test_dimensions_that_were_not_trained_are_warned_of(self, settings, received):
        workdir = pathlib.Path(self.create_tempdir().full_path, "run")
        write_run(workdir, queue=False, nested_dims=(2, 4))
        with (
            contextlib.redirect_stderr(io.StringIO()) as shown,
            mock.patch.multiple(export_model, _save=mock.DEFAULT, write_warmup=mock.DEFAULT),
        ):
            card = export_model.export(workdir, workdir.parent / "1", fine_tunable=False, **settings)
        self.assertEqual(card["embedding"]["nested_dims"], [2, 4])
        warnings = [line for line in shown.getvalue().splitlines() if line.startswith("warning")]
        expected = f"warning: {received} was not trained; the run trained the first 2, 4, 8 dimensions of projections"
        self.assertEqual(warnings, [expected] if received else [])

    def test_weights_in_8_bits_take_less_and_say_what_they_cost(self):
        self._assert_fewer_bits_take_less("int8", 2.0, 0.02)  # small kernels are float32 again

    @parameterized.parameters(("bfloat16", 2.0, 0.02), ("float16", 2.0, 0.003))
    @testing.slow
    def test_weights_in_16_bits_take_less_and_say_what_they_cost(self, *case):
        self._assert_fewer_bits_take_less(*case)

    def _assert_fewer_bits_take_less(self, dtype, smaller, apart):
        run = {"width": 1.0, "head_width": 128}
        exact = self._export(run=run)
        coarse = self._export(run=run, version="2", dtype=dtype)
        images = tf.constant(load_source("digits").test.images)
        embedded = [
            tf.saved_model.load(str(served)).signatures["embed_images"](images=images)["embedding"].numpy()
            for served in (exact, coarse)
        ]
        self.assertAllClose(*embedded, rtol=0, atol=apart)
        self.assertNotAllClose(*embedded, rtol=0, atol=apart / 1000)
        self.assertEqual(self.card["embedding"]["dtype"], dtype)
        report = self.card["embedding"]["against_float32"]
        similarities = np.einsum("nd,nd->n", *embedded)
        self.assertAllClose(report["mean_similarity"], similarities.mean(), atol=1e-5)
        accuracy = self.card["memory"]["measured"]["accuracy"]
        self.assertAlmostEqual(report["loss_of_accuracy"], report["accuracy_in_float32"] - accuracy)
        # In int8 the smaller kernels, up to 100 kB, are made float32 again when the graph is written.
        sizes = [_constant_bytes(served) for served in (exact, coarse)]
        self.assertGreater(sizes[0] / sizes[1], smaller - 0.2)

    @parameterized.parameters("batch", "group")
    @testing.slow
    def test_a_residual_network_is_exported_in_bfloat16(self, norm):
        self._assert_a_residual_network_is_exported_in_bfloat16(norm)

    def _assert_a_residual_network_is_exported_in_bfloat16(self, norm):
        run = {"encoder": "resnet18_cifar", "norm": norm, "queue": False}
        exact = self._export(run=run)
        coarse = self._export(run=run, version="2", dtype="bfloat16")
        images = tf.constant(load_source("digits").test.images[:8])
        embedded = [
            tf.saved_model.load(str(served)).signatures["embed_images"](images=images)["embedding"].numpy()
            for served in (exact, coarse)
        ]
        # Of random weights; group norm magnifies the rounding of single pictures.
        self.assertGreater(np.median(np.einsum("nd,nd->n", *embedded)), 0.98)

    @parameterized.parameters("float32", "bfloat16", "int8")
    @testing.slow
    def test_large_weights_stay_variables_and_change_no_answer(self, dtype):
        self._assert_large_weights_change_no_answer(dtype)

    def _assert_large_weights_change_no_answer(self, dtype):
        run = {"width": 1.0, "head_width": 128}
        frozen = self._export(run=run, dtype=dtype)
        large = self.folder / "served" / "digits" / "2"
        write_run(self.folder / "run", **run)
        with mock.patch.object(embedder, "_MOST_FROZEN_BYTES", 2**10):
            export_model.export(self.folder / "run", large, dtype=dtype)
        self.assertLess(_constant_bytes(large), 0.1 * _constant_bytes(frozen))
        files = tf.constant([pathlib.Path(path).read_bytes() for path in self._pictures()[1]])
        answers = [tf.saved_model.load(str(f)).signatures["serving_default"](bytes=files) for f in (frozen, large)]
        for name in ("embedding", "probability", "label", "valid"):
            self.assertAllClose(*(answer[name] for answer in answers), atol=1e-5)

    @parameterized.named_parameters(
        ("it_was_not_trained_here", {"queue": False}, {}), ("it_is_not_wanted", {}, {"memory": False})
    )
    def test_there_is_no_memory_where(self, run, settings):
        served = self._export(run={**run, "data": "tfds:no_such_set"}, **settings)
        self.assertEqual(set(tf.saved_model.load(str(served)).signatures), EMBEDDING)
        self.assertNotIn("memory", self.card)
        self.assertFalse((served / "assets.extra" / "evidence.npz").exists())

    def test_a_run_that_was_not_trained_here_remembers_if_it_is_asked_to(self):
        served = self._export(run={"queue": False}, memory=True)
        self.assertEqual(set(tf.saved_model.load(str(served)).signatures), ANSWERING)

    def test_labels_class_names_and_model_card_travel_with_it(self):
        run, served = self.folder / "run", self.folder / "served" / "digits" / "1"
        write_run(run)
        (run / "metrics.json").write_text('{"k": 1}')
        described = export_model.export(run, served, command="python -m …")
        self.assertEqual((served / "assets" / "class_names.txt").read_text(), "".join(f"{i}\n" for i in range(10)))
        with (served / "assets" / "labels.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        memory = Evidence.load(served / "assets.extra" / "evidence.npz").memory
        self.assertEqual([int(row["id"]) for row in rows], memory.ids.tolist())
        self.assertEqual([int(row["label"]) for row in rows], memory.labels.tolist())
        self.assertEqual([row["class_name"] for row in rows], [str(label) for label in memory.labels])
        card = json.loads((served / "assets" / "model_card.json").read_text())
        self.assertEqual(card, json.loads(json.dumps(described)))
        self.assertEqual((card["step"], card["evaluation"], card["command"]), (7, {"k": 1}, "python -m …"))
        checkpoint = checkpoints.latest_checkpoint(run)
        self.assertEqual(card["weights_sha256"], checkpoints.weights_sha256(checkpoint))

    @parameterized.parameters((7, True), (6, False))
    def test_a_card_holds_no_evaluation_of_another_step(self, step, held):
        metrics = self.folder / "metrics.json"
        self.assertIsNone(export_model._evaluation_at(7, metrics))
        metrics.write_text(json.dumps({"step": step, "accuracy": {}}))
        self.assertEqual(export_model._evaluation_at(7, metrics), {"step": 7, "accuracy": {}} if held else None)

    @unittest.skipUnless(has_extra("serving"), 'the extra "serving" is not installed')
    def test_every_warm_up_request_is_one_that_the_model_answers(self):
        served = self._export()
        signatures = tf.saved_model.load(str(served)).signatures
        warmed = []
        for signature, inputs in warmup.read_warmup(served):
            answer = signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
            if "valid" in answer:
                self.assertTrue(answer["valid"].numpy().all())
            warmed.append((signature, len(next(iter(inputs.values())))))
        (record, *_) = tf.data.TFRecordDataset(str(served / warmup.WARMUP)).as_numpy_iterator()
        self.assertIn(b"digits", record)  # the name that it is served under
        self.assertCountEqual(warmed, [(name, rows) for name in ANSWERING for rows in (1, 32)])

    def test_a_failure_leaves_nothing_behind(self):
        write_run(self.folder / "run", data="tfds:no_such_set")
        with self.assertRaisesRegex(ValueError, "--data must be"):
            export_model.export(self.folder / "run", self.folder / "served" / "digits" / "1")
        self.assertFalse((self.folder / "served").exists())

    @parameterized.parameters("class_means", "logistic_regression")
    def test_other_answers_than_a_vote_are_served(self, answers):
        served = self._export(answers=answers, dtype="bfloat16", run={"labels_per_class": 5})
        evidence = Evidence.load(served / "assets.extra" / "evidence.npz")
        memory, queries = evidence.memory, evidence.held_out.embeddings[:50]
        if answers == "class_means":
            means = [memory.embeddings[memory.labels == name].mean(0) for name in range(10)]
            logits = queries @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        else:
            fitted = fit_logistic_regression(memory.embeddings, memory.labels, population=evidence.population)
            logits = fitted.logits(queries) / np.linalg.norm(fitted.kernel, axis=0).max()
        expected = np.exp(logits / self.card["memory"]["temperature"])
        expected /= expected.sum(1, keepdims=True)
        signatures = tf.saved_model.load(str(served)).signatures
        self.assertEqual(set(signatures), ANSWERING)
        answer = signatures["classify_embeddings"](embedding=tf.constant(queries))
        self.assertAllClose(answer["probabilities"], expected, atol=5e-3)
        self.assertAllClose(answer["abstain"], expected.max(1) < self.card["memory"]["threshold"])
        self.assertAllEqual(answer["label"], expected.argmax(1))
        self.assertEqual((self.card["memory"]["answers"], len(self.card["answers"]["accuracy"])), (answers, 3))
        self.assertEqual(
            self.card["answers"]["accuracy"][answers], round(self.card["memory"]["measured"]["accuracy"], 6)
        )
        _, paths = self._pictures()
        whole = signatures["serving_default"](bytes=[tf.io.read_file(path) for path in paths])
        again = signatures["classify_embeddings"](embedding=whole["embedding"])
        for name in ("label", "class_name", "abstain"):
            self.assertAllEqual(whole[name], again[name])
        self.assertAllClose(whole["probability"], again["probability"], atol=1e-5)

    def test_the_best_answers_are_served_if_asked_for(self):
        served = self._export(answers="auto")
        evidence = Evidence.load(served / "assets.extra" / "evidence.npz")
        self.assertEqual(evidence.answers, evidence.best_answers())
        self.assertEqual(self.card["memory"]["answers"], evidence.answers)

    @testing.slow
    def test_a_remembered_picture_may_stand_for_the_mean_of_its_views(self):
        run = {"recipe": "digits"}
        plain = Evidence.load(self._export(run=run) / "assets.extra" / "evidence.npz")
        evidence = Evidence.load(self._export(run=run, version="2", memory_views=3) / "assets.extra" / "evidence.npz")
        images = load_source("digits").train.images[evidence.memory.ids]
        views = [images, *(random_view(images, self.settings, number) for number in (1, 2))]
        mean = np.mean([self.network.project(part).numpy() for part in views], 0)
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        self.assertAllClose(evidence.memory.embeddings, expected, atol=1e-5)
        self.assertNotAllClose(evidence.memory.embeddings, plain.memory.embeddings, atol=1e-3)
        self.assertAllEqual(evidence.held_out.embeddings, plain.held_out.embeddings)
        self.assertEqual((plain.views, evidence.views, self.card["memory"]["views"]), (1, 3, 3))

    def test_fewer_bits_and_dimensions_are_compared_with_the_same_answers_and_views(self):
        with mock.patch.object(RunImages, "evidence", autospec=True, side_effect=RunImages.evidence) as embed:
            self._export(answers="class_means", memory_views=2, dtype="float16", embedding_dims=4)
        self.assertEqual([call.kwargs for call in embed.call_args_list], [{"views": 2}] * 3)
        costs = self.card["embedding"]
        self.assertIn("accuracy_in_float32", costs["against_float32"])

    @parameterized.parameters(
        (
            {"answers": "guess"},
            "--answers must be one of vote, class_means, logistic_regression, auto. Received: guess",
        ),
        ({"memory_views": 0}, "--memory_views must be 1 or more. Received: 0"),
    )
    def test_answers_and_views_that_are_not_allowed_are_refused(self, settings, message):
        with self.assertRaisesRegex(ValueError, f"^{message}$"):
            self._export(**settings)

    def test_neighbours_are_at_least_one(self):
        with self.assertRaisesRegex(ValueError, "--num_neighbours must be 1 or more. Received: 0"):
            self._export(num_neighbours=0)


class MainTest(tf.test.TestCase, parameterized.TestCase):
    def _main(self, **values):
        folder = pathlib.Path(self.create_tempdir().full_path)
        write_run(folder / "run")
        values = {"workdir": str(folder / "run"), "export_dir": str(folder / "1"), **values}
        with flagsaver.flagsaver(**values):
            code = export_model.main([])
        card = folder / "1" / "assets" / "model_card.json"
        return code, json.loads(card.read_text()) if code == 0 else None

    def test_a_share_that_is_given_is_what_is_aimed_at(self):
        self._assert_aims({"target_coverage": 0.7}, (0.0, 0.7))

    @parameterized.parameters(({}, (0.05, 0.0)), ({"target_risk": 0.2}, (0.2, 0.0)))
    @testing.slow
    def test_risk_is_what_is_aimed_at_otherwise(self, *case):
        self._assert_aims(*case)

    def _assert_aims(self, values, expected):
        code, card = self._main(**values)
        self.assertEqual(code, 0)
        settings = card["memory"]["trust"]
        self.assertEqual((settings["target_risk"], settings["target_coverage"]), expected)

    @parameterized.parameters(
        (
            {"memory": "false", "target_risk": "0.1"},
            True,
            "--target_risk=0.1 must come with a memory. Received: --nomemo",
        ),
        (
            {"memory": "false", "num_neighbours": "3"},
            True,
            "--num_neighbours=3 must come with a memory. Received: --nom",
        ),
        (
            {"answers": "class_means"},
            False,
            "--answers=class_means must come with a memory. Received: a run without",
        ),
        (
            {"memory": "false", "memory_views": "3"},
            True,
            "--memory_views=3 must come with a memory. Received: --nomemory",
        ),
        (
            {"target_risk": "0.1"},
            False,
            "--target_risk=0.1 must come with a memory. Received: a run without a queue of",
        ),
        (
            {"calibrate_on": "nothing", "set_coverage": "0.5"},
            True,
            "--set_coverage=0.5 must come with something to cal",
        ),
    )
    def test_a_flag_that_would_have_no_effect_is_refused(self, given, queue, message):
        folder = pathlib.Path(self.create_tempdir().full_path)
        write_run(folder / "run", queue=queue)
        given |= {"workdir": str(folder / "run"), "export_dir": str(folder / "1")}
        with contextlib.redirect_stderr(io.StringIO()) as output, flagsaver.as_parsed(**given):
            self.assertEqual(export_model.main([]), 2)
        self.assertStartsWith(output.getvalue(), f"error: {message}")
        self.assertFalse((folder / "1").exists())

    def test_the_card_tells_data_and_licence(self):
        _, card = self._main(data_licence="CC0-1.0")
        self.assertEqual((card["step"], card["steps"], card["unfinished"]), (7, 20, False))
        self.assertEqual(card["licences"], {"code": "Apache-2.0", "data": "CC0-1.0"})
        self.assertIsNone(card["trained_on"])  # a run from before it was kept

    def test_a_setting_that_is_not_allowed_ends_in_one_line(self):
        code, _ = self._main(target_risk=0.1, target_coverage=0.7)
        self.assertEqual(code, 2)


if __name__ == "__main__":
    tf.test.main()
