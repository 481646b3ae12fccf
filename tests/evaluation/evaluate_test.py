"""Tests of semppl.evaluation.evaluate."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import shutil
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data import splits
from semppl.data.label_split import visible_labels
from semppl.data.sources import NO_LABEL, ImageSet, Source, load_source
from semppl.data.streaming import StreamedImageSet
from semppl.evaluation import evaluate as evaluation
from semppl.evaluation import evaluators, logistic_regression
from semppl.evaluation.logistic_regression import fit_logistic_regression, logistic_regression_classes
from semppl.evaluation.neighbours.class_means import class_mean_classes
from semppl.evaluation.neighbours.label_spreading import label_spreading_classes
from semppl.evaluation.neighbours.nearest_neighbours import nearest_neighbour_classes
from semppl.evaluation.results import measures
from semppl.evaluation.results.classes import class_report, confusion_matrix
from semppl.evaluation.results.floors import colour_histograms
from semppl.evaluation.robustness import measurement
from semppl.layers.networks import OnlineNetwork
from semppl.programs import command_line
from semppl.tests import testing, tiny  # noqa: F401  (testing marks the flags as parsed)


def _few_digits():
    """The digits, and few of them."""
    source = load_source("digits")
    train, test = source.train, source.test
    return Source(
        ImageSet(train.images[:200], train.labels[:200]),
        ImageSet(test.images[:60], test.labels[:60]),
        source.class_names,
    )


def _on_disk(images):
    """The same images of 8 bits as PNG files that are read one by one, as those of many sizes are."""
    files = tf.constant([tf.io.encode_png(image).numpy() for image in images.images])
    return StreamedImageSet(lambda at: {"image": tf.gather(files, at)}, 1, images.labels, ())


class _Run(tf.Module):
    """What the checkpoint of a run holds, as far as an evaluation is concerned."""

    def __init__(self, settings, classifier):
        super().__init__()
        tf.keras.utils.set_random_seed(1)
        self.online = OnlineNetwork(**settings.network, name="online")
        self.online.build([None, settings.large_size, settings.large_size, settings.channels])
        if classifier:
            self.classifier = tf.keras.layers.Dense(10)
            self.classifier.build([None, 16])
            self.classifier.bias.assign(100 * tf.one_hot(7, 10))  # it says seven, whatever it sees


def _accuracy(*arguments, **more):
    return evaluation.evaluate(*arguments, **more)["accuracy"]


class EvaluateTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.object(splits, "load_splits", return_value=_few_digits()))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        self.enter_context(mock.patch.object(logistic_regression, "_STRENGTHS", [10.0, 100.0]))  # for speed

    def _run(self, *, classifier=False, **changes):
        """Writes a run with random weights."""
        settings = Hyperparameters(**tiny.settings(**changes))
        workdir = pathlib.Path(self.create_tempdir().full_path)
        (workdir / "hyperparameters.json").write_text(settings.to_json())
        run = _Run(settings, classifier)
        manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=run), str(workdir / "checkpoints"), max_to_keep=1, checkpoint_name="step"
        )
        manager.save(checkpoint_number=7)
        return workdir, settings, run

    def test_every_representation_is_measured_in_every_way(self):
        workdir, settings, run = self._run()
        metrics = _accuracy(workdir, k=3)
        self.assertEqual(list(metrics), ["raw_pixels", "features", "projections", "joint"])
        for row in metrics.values():
            self.assertEqual(list(row), list(evaluation.EVALUATORS))
            self.assertTrue(all(0 <= accuracy <= 1 for accuracy in row.values()))
        source = _few_digits()
        labelled = np.flatnonzero(
            visible_labels(source.train, labels_per_class=2, seed=settings.label_seed) != NO_LABEL
        )
        labels = source.train.labels[labelled]
        for name, function in (
            ("raw_pixels", lambda images: images.reshape(len(images), -1)),
            ("features", lambda images: run.online.features(images).numpy()),
            ("projections", lambda images: run.online.project(images).numpy()),
            ("joint", lambda images: run.online.join_features(run.online.features(images)).numpy()),
        ):
            memory, queries = function(source.train.images[labelled]), function(source.test.images)
            classes = nearest_neighbour_classes(queries, memory, labels, k=3)
            self.assertAlmostEqual(
                metrics[name]["nearest_neighbours"], np.mean(classes == source.test.labels), delta=1e-12
            )

    def test_a_run_with_nested_dims_has_a_row_for_each(self):
        workdir, settings, run = self._run(nested_dims=(1, 3))
        metrics = _accuracy(workdir, evaluators=["nearest_neighbours"])
        self.assertEqual(
            list(metrics), ["raw_pixels", "features", "projections", "projections[:1]", "projections[:3]", "joint"]
        )
        source = _few_digits()
        visible = visible_labels(source.train, labels_per_class=2, seed=settings.label_seed)
        labelled = np.flatnonzero(visible != NO_LABEL)
        memory, queries = (
            run.online.project(images).numpy()[:, :3] for images in (source.train.images[labelled], source.test.images)
        )
        cosines = [
            [q @ m / np.linalg.norm(q) / np.linalg.norm(m) for m in memory.astype(np.float64)]
            for q in queries.astype(np.float64)
        ]
        classes = visible[labelled][np.argmax(cosines, 1)]
        expected = np.mean(classes == source.test.labels)
        self.assertAlmostEqual(metrics["projections[:3]"]["nearest_neighbours"], expected, delta=1e-12)

    def test_a_compatible_run_is_measured_with_the_old_index_too(self):
        old, _, old_run = self._run(embedding_width=5)
        workdir, settings, run = self._run(compatible_with=str(old))
        report = evaluation.evaluate_run(workdir, evaluators=["nearest_neighbours"], k=2)
        source = _few_digits()
        visible = visible_labels(source.train, labels_per_class=2, seed=settings.label_seed)
        labelled = np.flatnonzero(visible != NO_LABEL)
        memory = old_run.online.project(source.train.images[labelled]).numpy()
        queries = run.online.project(source.test.images).numpy()[:, :5]
        classes = nearest_neighbour_classes(queries, memory, visible[labelled], k=2)
        across = report["old_index"]["new queries, old index"]
        self.assertAlmostEqual(across, np.mean(classes == source.test.labels), delta=1e-12)
        written = json.loads((workdir / "metrics.json").read_text())
        self.assertEqual(written["old_index"], report["old_index"])
        self.assertIn(f"  new queries, old index  {across:.4f}", evaluation._lines(report, "test"))
        shutil.rmtree(old)
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            self.assertNotIn("old_index", evaluation.evaluate_run(workdir, evaluators=["nearest_neighbours"]))
        self.assertIn("warning: the index of the older run is not evaluated: --compatible_with must", shown.getvalue())

    def test_the_classifiers_have_a_bar_with_the_remaining_time(self):
        workdir, _, _ = self._run()
        with (
            mock.patch.object(evaluation, "_BRIEF", -1.0),
            contextlib.redirect_stderr(io.StringIO()) as shown,
        ):
            _accuracy(workdir, evaluators=["class_means", "nearest_neighbours"])
        for number, at in enumerate(("raw_pixels, class_means", "features, nearest_neighbours", "joint, class_means")):
            done = (0, 3, 6)[number]
            self.assertRegex(
                shown.getvalue(), rf"{at}: +\d+%\|[^|]*\| {done}/8 \[\d\d:\d\d<(\d\d:\d\d|\?), .*classifiers"
            )

    def test_the_evaluators_get_labelled_images_and_a_sample_of_the_others(self):
        workdir, settings, run = self._run()
        source = _few_digits()
        visible = visible_labels(source.train, labels_per_class=2, seed=settings.label_seed)
        labelled = np.flatnonzero(visible != NO_LABEL)
        features, queries = (run.online.features(part.images).numpy() for part in (source.train, source.test))
        expected = {
            "class_means": class_mean_classes(queries, features[labelled], visible[labelled]),
            "logistic_regression": logistic_regression_classes(
                features[labelled], visible[labelled], queries, population=features
            ),
            "label_spreading": label_spreading_classes(features, visible, queries),
        }
        metrics = _accuracy(workdir, evaluators=list(expected))["features"]
        for name, classes in expected.items():
            self.assertEqual(metrics[name], np.mean(classes == source.test.labels), name)

    def test_a_sample_has_all_labelled_images_and_a_fixed_draw_of_others(self):
        images, visible = _few_digits().train, np.array([3, 150])
        with mock.patch.object(evaluators, "_MAX_SAMPLE", 20):
            sample = evaluators.training_sample(visible, images)
            self.assertEqual(sample.tolist(), evaluators.training_sample(visible, images, values=64).tolist())
        self.assertLen(sample, 20)
        self.assertContainsSubset([3, 150], sample.tolist())
        self.assertEqual(sample.tolist(), sorted(set(sample.tolist())))
        with mock.patch.object(evaluators, "_MAX_SAMPLE_VALUES", 64 * 30):  # 8 × 8 pixels
            self.assertLen(evaluators.training_sample(visible, images, values=64), 30)
            self.assertLen(evaluators.training_sample(visible, images), 200)
        with mock.patch.object(evaluators, "_MAX_SAMPLE", 1):
            self.assertEqual(evaluators.training_sample(visible, images).tolist(), [3, 150])

    @parameterized.parameters((50, 2**26, 50), (200, 4 * 40, 40), (3, 2**26, 3))
    def test_labels_spread_over_few_images_the_labelled_ones_first(self, most, values, expected):
        rng = np.random.default_rng(0)
        task = evaluation.Task(
            rng.standard_normal((200, 4)), np.arange(200) % 3, np.arange(0, 200, 40), np.arange(0, 200, 2), np.eye(4), 1
        )
        with (
            mock.patch.object(evaluators, "_MAX_SPREAD", most),
            mock.patch.object(evaluators, "_MAX_SPREAD_VALUES", values),
            mock.patch.object(evaluators, "label_spreading_classes") as spread,
        ):
            evaluation.EVALUATORS["label_spreading"].classes(task)
        features, labels, queries = spread.call_args.args
        self.assertEqual((len(features), len(labels)), (expected, expected))
        self.assertEqual(queries.tolist(), np.eye(4).tolist())
        known = np.flatnonzero(labels != NO_LABEL)
        self.assertLen(known, min(5, most))
        for row, label in zip(features, labels, strict=True):
            position = int(np.flatnonzero((task.train == row).all(1)).item())
            self.assertEqual(label, position % 3 if position % 40 == 0 else NO_LABEL)
            self.assertEqual(position % 2, 0)

    def test_logistic_regression_scales_by_the_sample_or_by_all_labels(self):
        train, labels = np.arange(12.0).reshape(6, 2), np.array([0, NO_LABEL, 1, 0, 1, NO_LABEL])
        task = evaluation.Task(train, labels, np.array([0, 4]), np.array([0, 1, 4]), np.eye(2), 1)
        for name, known, population in (
            ("logistic_regression", [0, 4], [0, 1, 4]),
            ("logistic_regression_all_labels", [0, 2, 3, 4], None),
        ):
            with mock.patch.object(evaluators, "fit_logistic_regression") as fit:
                evaluation.EVALUATORS[name].classes(task)
            features, visible = fit.call_args.args
            self.assertAllEqual(features, train[known])
            self.assertAllEqual(visible, labels[known])
            self.assertAllEqual(fit.return_value.predict.call_args.args[0], np.eye(2))
            scaled_by = fit.call_args.kwargs.get("population")
            self.assertAllEqual(train[known] if scaled_by is None else scaled_by, train[population or known])

    def test_all_labels_tell_more_than_few(self):
        pixels = _accuracy(self._run()[0])["raw_pixels"]
        self.assertGreater(pixels["logistic_regression_all_labels"], pixels["logistic_regression"] + 0.1)
        self.assertGreater(pixels["logistic_regression_all_labels"], 0.8)

    def test_the_metrics_are_written(self):
        workdir, _, _ = self._run()
        metrics = evaluation.evaluate(workdir, k=3)
        self.assertEqual(list(metrics), ["accuracy", "balanced_accuracy"])
        report = json.loads((workdir / "metrics.json").read_text())
        header = {"step": 7, "steps": 20, "unfinished": False, "k": 3, "test_images": 60, "labelled": 20}
        self.assertEqual({name: report.pop(name) for name in (*header, *metrics)}, header | metrics)
        self.assertEqual(set(report), {"floors", "classes", "details", "cohen_kappa", "macro_f1"})
        self.assertEqual(set(report["details"]), {"k_grid", "calibration", "clustering", "pseudo_labels"})
        grid = dict(
            zip(report["details"]["k_grid"]["k"], report["details"]["k_grid"]["nearest_neighbours"], strict=True)
        )
        one = evaluation.evaluate(workdir, k=1, evaluators=["nearest_neighbours"])["accuracy"]
        self.assertEqual(grid[1], one["projections"]["nearest_neighbours"])
        self.assertEqual(report["details"]["pseudo_labels"]["images"], 180)

    @parameterized.parameters((("raw_pixels", "features"),), (("classifier", "projections"),))
    def test_single_rows_are_those_of_the_whole_evaluation(self, rows):
        workdir, _, _ = self._run()
        evaluators = ["nearest_neighbours", "label_spreading"]
        with mock.patch.object(evaluation, "embed", wraps=evaluation.embed) as embed_pixels:
            found = evaluation.measure_rows(workdir, rows, evaluators=evaluators, split="test")
        self.assertEqual(embed_pixels.called, "raw_pixels" in rows)
        self.assertFalse((workdir / "metrics.json").exists())
        whole = evaluation.evaluate(workdir, evaluators=evaluators)
        expected = {
            measure: {row: cells for row, cells in table.items() if row in rows} for measure, table in whole.items()
        }
        self.assertEqual(found, expected)
        self.assertTrue(all(found.values()))

    def test_heads_are_measured_alike_with_and_without_a_cache_folder_that_runs_share(self):
        cache = self.create_tempdir().full_path
        found = []
        for place, seed in (("", 3), (cache, 3), (cache, 4)):
            workdir, _, run = self._run(train="heads", small_views=0, cache_dir=place, seed=seed)
            self.assertIsNotNone(run.online.scaling)
            found.append(
                evaluation.measure_rows(
                    workdir, ("features", "projections"), evaluators=["logistic_regression"], split="test"
                )
            )
        self.assertEqual(found[1:], found[:1] * 2)
        self.assertLen(list(pathlib.Path(cache).glob("evaluated_features/*.npz")), 2)  # training and test images

    def test_seeds_draw_other_folds_and_keep_the_first_as_headline(self):
        workdir, _, _ = self._run()
        one = evaluation.evaluate_run(workdir, evaluators=["logistic_regression"])
        several = evaluation.evaluate_run(workdir, evaluators=["logistic_regression"], seeds=2)
        seeds = several.pop("seeds")
        self.assertEqual(several, one)
        for row, columns in one["accuracy"].items():
            cell = seeds["accuracy"][row]["logistic_regression"]
            self.assertEqual(cell["n"], 2)
            other = 2 * cell["mean"] - columns["logistic_regression"]
            self.assertAlmostEqual(cell["spread"], abs(other - cell["mean"]) * 2**0.5)
        with self.assertRaisesRegex(ValueError, "^--evaluation_seeds must be a positive integer. Received: 0"):
            evaluation.evaluate_run(workdir, seeds=0)

    def test_floors_and_classes_are_those_of_the_test_images(self):
        workdir, settings, run = self._run()
        report = evaluation.evaluate_run(workdir, evaluators=["nearest_neighbours"])
        source = _few_digits()
        labelled = np.flatnonzero(
            visible_labels(source.train, labels_per_class=2, seed=settings.label_seed) != NO_LABEL
        )
        train, test = (colour_histograms(tf.constant(part.images)).numpy() for part in (source.train, source.test))
        histogram = logistic_regression_classes(train[labelled], source.train.labels[labelled], test)
        truth = source.test.labels
        for measure, function in measures.MEASURES.items():
            self.assertEqual(
                report["floors"][measure],
                {
                    "chance": 0.1,
                    "majority_class": function(np.full(60, np.bincount(truth).argmax()), truth),
                    "raw_pixels": report[measure]["raw_pixels"]["nearest_neighbours"],
                    "colour_histogram": function(histogram, truth),
                },
            )
        features = [
            run.online.features(images).numpy() for images in (source.train.images[labelled], source.test.images)
        ]
        classes = nearest_neighbour_classes(features[1], features[0], source.train.labels[labelled], k=1)
        expected = class_report(classes, truth, source.class_names)
        expected |= confusion_matrix(classes, truth, source.class_names)
        self.assertEqual(report["classes"], {"of": "features, nearest_neighbours"} | expected)

    def test_classes_and_floors_are_of_the_row_that_the_printed_advice_exports(self):
        workdir, _, _ = self._run()
        report = evaluation.evaluate_run(workdir)
        (line,) = [line for line in evaluation._lines(report, "test") if "is exported with" in line]
        row, column = re.match(r"(\w+) with (\w+) ", line).groups()
        self.assertNotEqual((row, column), ("projections", "nearest_neighbours"))  # what an export serves by default
        self.assertEqual(report["classes"]["of"], f"{row}, {column}")
        accuracy = report["accuracy"][row][column]
        right = sum(part["accuracy"] * part["images"] for part in report["classes"]["per_class"])
        self.assertAlmostEqual(right / 60, accuracy)
        self.assertAlmostEqual(np.trace(report["classes"]["confusion_matrix"]["rows"]) / 60, accuracy)
        (warning,) = [
            line for line in evaluation._lines(report, "test") if line.startswith("warning: the encoder is not")
        ]
        self.assertIn(f"its accuracy is {accuracy:.4f} ({row}, {column})", warning)

    def test_pictures_on_disk_have_raw_pixels_too(self):
        source, (workdir, _, _) = _few_digits(), self._run()
        parts = {
            name: ImageSet(np.round(part.images * 255).astype(np.uint8), part.labels)
            for name, part in (("train", source.train), ("test", source.test))
        }
        reports = []
        for made in (parts, {name: _on_disk(part) for name, part in parts.items()}):
            with mock.patch.object(splits, "load_splits", return_value=dataclasses.replace(source, **made)):
                reports.append(evaluation.evaluate_run(workdir, evaluators=["nearest_neighbours"]))
        in_memory, on_disk = reports
        self.assertEqual(on_disk["accuracy"]["raw_pixels"], in_memory["accuracy"]["raw_pixels"])
        self.assertEqual(on_disk["floors"], in_memory["floors"])

    def test_raw_pixels_of_many_pictures_on_disk_are_not_needed_with_all_labels(self):
        train = _few_digits().train
        self.assertEqual(evaluation._affordable(list(evaluation.EVALUATORS), train), list(evaluation.EVALUATORS))
        streamed = mock.MagicMock()
        for count, left_out in ((20_000, []), (20_001, ["logistic_regression_all_labels"])):
            streamed.__len__.return_value = count
            chosen = evaluation._affordable(list(evaluation.EVALUATORS), streamed)
            self.assertEqual([name for name in evaluation.EVALUATORS if name not in chosen], left_out)

    def test_a_run_is_judged_by_test_images_that_are_named_later(self):
        workdir, _, _ = self._run()
        own = evaluation.evaluate_run(workdir, evaluators=["class_means"])
        source = _few_digits()
        with (
            mock.patch.object(splits, "load_splits", return_value=dataclasses.replace(source, test=None)),
            mock.patch.object(
                splits, "load_source", return_value=dataclasses.replace(source, train=source.test, test=None)
            ),
        ):
            with self.assertRaisesRegex(ValueError, "^--test must give held-out images"):
                evaluation.evaluate_run(workdir, evaluators=["class_means"])
            later = evaluation.evaluate_run(workdir, evaluators=["class_means"], moved={"test": "folder:later"})
            with self.assertRaisesRegex(ValueError, "^--test must be a source of images that were not trained on"):
                evaluation.evaluate_run(workdir, moved={"test": "0.2"})
        self.assertEqual(later.pop("test"), "folder:later")
        self.assertEqual(later, own)
        self.assertEqual(json.loads((workdir / "metrics.json").read_text())["test"], "folder:later")
        with self.assertRaisesRegex(ValueError, "^--test must come with --split=test. Received: --split=validation"):
            evaluation.evaluate(workdir, moved={"test": "folder:later"}, split="validation")

    def test_flags_of_a_run_are_refused_beside_a_model(self):
        for flag in ("workdir", "k", "evaluators"):
            value = {"workdir": "outputs/a", "k": 3, "evaluators": ["class_means"]}[flag]
            with (
                flagsaver.flagsaver(**{"workdir": None, "model": "served/1", flag: value}),
                self.assertRaisesRegex(ValueError, f"^--{flag} must be left out beside --model"),
            ):
                evaluation._refuse_beside_a_model()

    def test_robustness_is_measured_beside_a_baseline_and_on_shifted_images(self):
        workdir, _, _ = self._run()
        source, printed = _few_digits(), io.StringIO()
        shifted = dataclasses.replace(source, train=source.test.select(np.arange(10)), test=None)
        self.enter_context(mock.patch.object(splits, "load_source", return_value=shifted))
        self.enter_context(mock.patch.object(measurement, "SEVERITIES", (1,)))
        report = evaluation.evaluate_robustness(workdir, k=3)
        self.assertEqual((report["step"], report["k"], report["images"]), (7, 3, 60))
        names = ("nearest_neighbours", "logistic_regression")
        clean = evaluation.evaluate(workdir, k=3, evaluators=names)["accuracy"]
        for row, name in zip(("projections", "features"), names, strict=True):
            self.assertAlmostEqual(report["errors"][name]["clean"], 1 - clean[row][name])
        arguments = {"workdir": str(workdir), "k": 3, "robustness": True, "baseline": str(workdir)}
        with flagsaver.flagsaver(**arguments, shifted_test=["folder:a"]), contextlib.redirect_stdout(printed):
            self.assertEqual(evaluation.main([]), 0)
        self.assertRegex(printed.getvalue(), r"nearest_neighbours beside .*: mCE 1\.0000, relative mCE")
        written = json.loads((workdir / "robustness.json").read_text())
        self.assertEqual(written["errors"], report["errors"])
        self.assertEqual(list(written["shifted"]), ["folder:a"])

    def test_the_logistic_regression_of_robustness_is_that_of_an_evaluation(self):
        workdir, _, _ = self._run()
        self.enter_context(mock.patch.object(measurement, "SEVERITIES", ()))
        fitted = []
        with mock.patch.object(evaluators, "fit_logistic_regression", wraps=fit_logistic_regression) as fit:
            for evaluated in (evaluation.evaluate_robustness, evaluation.evaluate):
                fit.reset_mock()
                evaluated(workdir, **{"evaluators": ["logistic_regression"]} if fitted else {})
                (call,) = [call for call in fit.call_args_list if call.args[0].shape[1] == 16]  # of the features
                fitted.append((*call.args, call.kwargs["population"], call.kwargs["seed"]))
        for own, other in zip(*fitted, strict=True):
            self.assertAllEqual(own, other)
        self.assertLen(fitted[0][2], 200)

    def test_flags_of_robustness_are_refused_without_it(self):
        for values, message in (
            ({"baseline": "outputs/a"}, "^--baseline must come with --robustness"),
            ({"shifted_test": ["folder:a"]}, "^--shifted_test must come with --robustness"),
            ({"robustness": True, "split": "validation"}, "^--robustness must be left out with"),
        ):
            with flagsaver.flagsaver(**values), self.assertRaisesRegex(ValueError, message):
                evaluation._check_robustness(evaluation._SPLIT.value)

    def test_an_unfinished_run_says_at_which_step(self):
        workdir, _, _ = self._run()
        (workdir / "data.json").write_text("{}")  # it was trained here
        printed = io.StringIO()
        with flagsaver.flagsaver(workdir=str(workdir), evaluators=["class_means"]), contextlib.redirect_stdout(printed):
            self.assertEqual(evaluation.main([]), 0)
        lines = printed.getvalue().splitlines()
        self.assertEqual(lines[0], "step 7 of 20, unfinished")
        for text in (
            "floors: chance 0.1000",
            "accuracy per class (projections, class_means)",
            "An export serves the row",
        ):
            self.assertIn(text, printed.getvalue())
        self.assertTrue(json.loads((workdir / "metrics.json").read_text())["unfinished"])

    def test_balanced_accuracy_is_the_mean_over_the_classes_that_occur(self):
        # Class 2: 1 of 4; class 0: 1 of 1; class 5: 0 of 1. Nobody is of class 1.
        truth, classes = np.array([2, 2, 0, 2, 2, 5]), np.array([2, 0, 0, 1, 1, 1])
        self.assertAlmostEqual(measures.balanced_accuracy(classes, truth), (1 / 4 + 1 + 0) / 3, delta=1e-12)
        self.assertAlmostEqual(measures.accuracy(classes, truth), 2 / 6, delta=1e-12)

    def test_whoever_names_one_class_only_is_right_in_one_class_of_all(self):
        workdir, _, _ = self._run(classifier=True, method="supervised", labelled_batch_size=16, queue_size=16)
        metrics = evaluation.evaluate(workdir, evaluators=["nearest_neighbours"])
        share = 1 / len(np.unique(_few_digits().test.labels))
        self.assertAlmostEqual(metrics["balanced_accuracy"]["classifier"]["own"], share, delta=1e-12)

    def test_a_supervised_run_has_its_own_classifier_and_no_projections(self):
        workdir, _, run = self._run(classifier=True, method="supervised", labelled_batch_size=16, queue_size=16)
        metrics = _accuracy(workdir, evaluators=["nearest_neighbours"])
        self.assertEqual(list(metrics), ["raw_pixels", "features", "classifier"])
        test = _few_digits().test
        logits = run.classifier(run.online.features(test.images)).numpy()
        self.assertEqual(metrics["classifier"], {"own": np.mean(logits.argmax(-1) == test.labels)})
        rows, evaluators = ("classifier", "projections"), ["label_spreading"]
        with mock.patch.object(evaluation, "FeatureStore", wraps=evaluation.FeatureStore) as store:
            found = evaluation.measure_rows(workdir, rows, evaluators=evaluators, split="test")
        self.assertEqual(found["accuracy"], {"classifier": metrics["classifier"]})
        self.assertEqual(store.call_count, 1)

    def test_validation_images_are_judged_apart_and_only_those_with_a_label(self):
        source, (workdir, _, _) = _few_digits(), self._run()
        labels = source.test.labels.copy()
        labels[10:] = NO_LABEL
        half_known = dataclasses.replace(source, validation=dataclasses.replace(source.test, labels=labels))
        shortened = dataclasses.replace(source, test=source.test.select(np.arange(10)))
        with mock.patch.object(splits, "load_splits", return_value=half_known):
            metrics = _accuracy(workdir, split="validation")
        with mock.patch.object(splits, "load_splits", return_value=shortened):
            self.assertEqual(_accuracy(workdir), metrics)
        report = json.loads((workdir / "metrics_validation.json").read_text())
        self.assertEqual((report["validation_images"], report["accuracy"]), (10, metrics))

    def test_without_images_or_labels_there_is_nothing_to_judge_by(self):
        source, (workdir, _, _) = _few_digits(), self._run()
        with self.assertRaisesRegex(ValueError, "^--validation must give held-out images"):
            _accuracy(workdir, split="validation")
        unknown = dataclasses.replace(source.test, labels=np.full(60, NO_LABEL, np.int32))
        with (
            mock.patch.object(splits, "load_splits", return_value=dataclasses.replace(source, test=unknown)),
            self.assertRaisesRegex(ValueError, "^--test must have labels to judge by. Received: 60 images, none with"),
        ):
            _accuracy(workdir)

    def test_where_there_is_one_class_only_every_evaluator_answers(self):
        rng = np.random.default_rng(0)
        task = evaluation.Task(
            rng.standard_normal((9, 4)), np.full(9, 5), np.array([0, 4]), np.arange(9), rng.standard_normal((3, 4)), 1
        )
        for evaluator in evaluation.EVALUATORS.values():
            self.assertEqual(evaluator.classes(task).tolist(), [5, 5, 5])

    def test_images_without_a_known_label_take_no_part_in_all_labels(self):
        source, (workdir, _, _) = _few_digits(), self._run()
        train = dataclasses.replace(source.train, labels=np.where(np.arange(200) % 2, source.train.labels, NO_LABEL))
        with mock.patch.object(splits, "load_splits", return_value=dataclasses.replace(source, train=train)):
            first = _accuracy(workdir)
        half = dataclasses.replace(source, train=source.train.select(np.arange(1, 200, 2)))
        with mock.patch.object(splits, "load_splits", return_value=half):
            other = _accuracy(workdir)
        name = "logistic_regression_all_labels"
        self.assertEqual(first["raw_pixels"][name], other["raw_pixels"][name])

    def test_only_what_is_asked_for_is_measured(self):
        workdir, _, _ = self._run()
        everything = _accuracy(workdir)
        for name in (
            "nearest_neighbours",
            "logistic_regression",
            "label_spreading",
        ):  # none needs the other images' features
            first = _accuracy(workdir, evaluators=[name])
            self.assertEqual(first, {representation: {name: row[name]} for representation, row in everything.items()})

    def test_more_neighbours_than_labelled_images_are_all_of_them(self):
        workdir, _, _ = self._run()
        metrics = [_accuracy(workdir, k=k, evaluators=["nearest_neighbours"]) for k in (20, 500)]
        self.assertEqual(*metrics)

    def test_the_table_has_a_row_per_representation(self):
        rows = evaluation.table(
            {"features": {"a": 0.5, "b": 1.0}, "classifier": {"own": 0.25}}, "balanced_accuracy"
        ).splitlines()
        self.assertEqual(
            [row.split() for row in rows],
            [
                ["balanced_accuracy", "a", "b", "own"],
                ["features", "0.5000", "1.0000", "–"],
                ["classifier", "–", "–", "0.2500"],
            ],
        )
        self.assertLen({len(row) for row in rows}, 1)


class CommandTest(tf.test.TestCase, parameterized.TestCase):
    def _main(self, *arguments):
        """Returns the exit code and what stands on stderr."""
        errors = io.StringIO()
        with flagsaver.flagsaver(), contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            flags.FLAGS(["evaluate", *arguments])
            return evaluation.main(["evaluate"]), errors.getvalue()

    def test_a_folder_without_a_run_is_one_line(self):
        workdir = self.create_tempdir().full_path
        code, errors = self._main(f"--workdir={workdir}")
        self.assertEqual(code, 2)
        expected = f"error: --workdir must be the folder of a run, with a hyperparameters.json. Received: {workdir}\n"
        self.assertEqual(errors, expected)

    def test_a_run_without_a_checkpoint_is_one_line(self):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        (workdir / "hyperparameters.json").write_text(Hyperparameters(**tiny.settings()).to_json())
        code, errors = self._main(f"--workdir={workdir}")
        self.assertEqual(code, 2)
        self.assertEqual(errors, f"error: --workdir must hold a checkpoint. Received: {workdir}, which has none\n")

    def test_an_unknown_evaluator_is_one_line(self):
        code, errors = self._main("--workdir=nowhere", "--evaluators=guess,nearest_neighbours")
        self.assertEqual(code, 2)
        self.assertEqual(
            errors, f"error: --evaluators must be of {', '.join(evaluation.EVALUATORS)}. Received: guess\n"
        )

    @parameterized.parameters(
        ([], "--workdir must name a folder. Received: none"),
        (["--workdir="], "--workdir must name a folder. Received: none"),
        (["--workdir"], "--workdir must be followed by a value. Received: none"),
        (["--workdir=a", "--k=0"], "--k must be a positive integer. Received: 0"),
        (["--workdir=a", "--k=x"], "--k must be a positive integer. Received: x"),
        (
            ["--workdir=a", "--evaluator=b"],
            "Every flag must be one that --helpfull lists. Received: --evaluator; did you mean evaluators?",
        ),
        (["--workdir=a", "--zzz"], "Every flag must be one that --helpfull lists. Received: --zzz"),
    )
    def test_a_wrong_command_line_is_one_line(self, arguments, message):
        self.assertEqual(self._errors(arguments), f"error: {message}\n")

    def test_a_file_of_flags_that_is_not_there_is_one_line(self):
        # Where another program's --preset is defined in this process, the line names the presets, too.
        expected = r"^error: --flagfile must be a file that can be read[^.]*\. Received: /none/such\n$"
        self.assertRegex(self._errors(["--flagfile=/none/such"]), expected)

    def _errors(self, arguments):
        """Returns what a command line that is refused prints."""
        errors = io.StringIO()
        self.addCleanup(flags.FLAGS.mark_as_parsed)
        with flagsaver.flagsaver(), contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as ended:
            flags.FLAGS.unparse_flags()
            flags.FLAGS["workdir"].unparse()
            command_line.parse(["evaluate", *arguments])
        self.assertEqual(ended.exception.code, 2)
        return errors.getvalue()


if __name__ == "__main__":
    tf.test.main()
