"""Tests of the programs of semppl.benchmarks.small_budget that train or embed."""

import contextlib
import dataclasses
import io
import json
import pathlib
import re
import subprocess
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized

from semppl.benchmarks.small_budget import (
    ablation_results,
    ablation_variants,
    ablations,
    growing,
    inference_tricks,
    more_labels,
    rates,
    resnet9_variants,
)
from semppl.benchmarks.small_budget.collect import recorded
from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.evaluate import evaluate
from semppl.experiments.comparison import results, trainings
from semppl.experiments.comparison.preparation import prepare
from semppl.experiments.comparison.results import CLASSIFIERS
from semppl.layers.encoders import registry
from semppl.programs import presets, run_flags
from semppl.runs import checkpoints
from semppl.tests import testing, tiny
from semppl.tests.export.random_runs import write_run
from semppl.trainers import pretrain
from semppl.trainers.methods import find_method, settle
from semppl.trainers.reports import callbacks
from semppl.trainers.semppl import SemPPL


class AblationsTest(parameterized.TestCase):
    @parameterized.parameters(*ablation_variants.VARIANTS)
    def test_a_variant_changes_settings_that_semppl_uses(self, name):
        _, changes = ablation_variants.VARIANTS[name]
        settings = Hyperparameters(
            **tiny.settings(batch_size=256, queue_size=2048, labelled_batch_size=64) | dict(changes)
        )
        settle(settings, given=changes, workdir=pathlib.Path("nowhere"))
        find_method("semppl").check_settings(settings)

    @parameterized.parameters(*ablation_variants.VARIANTS)
    def test_the_title_of_a_variant_has_its_numbers(self, name):
        title, changes = ablation_variants.VARIANTS[name]
        shown = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", title))}
        values = [part for value in changes.values() for part in (value if isinstance(value, tuple) else [value])]
        numbers = {float(value) for value in values if not isinstance(value, bool | str)}
        unsaid = {"vote_share_0": {0.0}, "vote_share_1": {1.0}, "one_voting_view": {1.0}}.get(name, set())
        self.assertEqual(numbers - shown, unsaid)

    def test_variants_that_change_nothing_are_left_out_but_for_the_preset(self):
        shared = Hyperparameters(**tiny.settings(invariance_weight=1.0))
        found = ablations.trainings_of(["preset", "lambda_0", "lambda_1"], [3, 5], shared, pathlib.Path("all"))
        self.assertEqual([run.folder.name for run in found], ["preset-3", "lambda_0-3", "preset-5", "lambda_0-5"])
        self.assertEqual([run.settings.invariance_weight for run in found], [1, 0, 1, 0])
        self.assertEqual([(run.settings.seed, run.settings.label_seed) for run in found], [(3, 3)] * 2 + [(5, 5)] * 2)

    def test_single_variants_have_steps_of_their_own(self):
        shared, names = Hyperparameters(**tiny.settings(steps=9)), ["preset", "lambda_0"]
        found = ablations.trainings_of(names, [0], shared, pathlib.Path("all"), {"lambda_0": 5})
        self.assertEqual({run.folder.name: run.settings.steps for run in found}, {"preset-0": 9, "lambda_0-0": 5})
        with self.assertRaisesRegex(ValueError, "^--variant_steps must name variants .* Received: lambda_1$"):
            ablations.trainings_of(names, [0], shared, pathlib.Path("all"), {"lambda_1": 5})

    def test_a_variant_that_does_not_suit_the_preset_is_named(self):
        shared = Hyperparameters(**tiny.settings())
        with self.assertRaisesRegex(
            ValueError, r"^--batch_size must .* Received: 16 \(in the variant negatives_100\)$"
        ):
            ablations.trainings_of(["preset", "negatives_100"], [0], shared, pathlib.Path("all"))
        with self.assertRaisesRegex(
            ValueError, "^--variants must name a variant that changes the preset. Received: float32$"
        ):
            ablations.trainings_of(["float32"], [0], shared, pathlib.Path("all"))

    def test_a_preset_that_cannot_be_trained_is_refused(self):
        shared = Hyperparameters(**tiny.settings(encoder="unknown"))
        with self.assertRaisesRegex(ValueError, "^--encoder must be .* Received: unknown"):
            ablations.suiting(["preset", "lambda_0"], shared, pathlib.Path("all"))

    def test_by_default_variants_that_do_not_suit_the_preset_are_left_out_and_named(self):
        shared, errors = Hyperparameters(**tiny.settings()), io.StringIO()
        with contextlib.redirect_stderr(errors):
            found = ablations.suiting(["preset", "negatives_100", "lambda_0"], shared, pathlib.Path("all"))
        self.assertEqual(found, ["preset", "lambda_0"])
        self.assertRegex(errors.getvalue(), r"^• left out: --batch_size must .* \(in the variant negatives_100\)\n$")

    def test_a_variant_that_fails_stops_no_other_and_results_of_other_commands_stay(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        shared = Hyperparameters(**presets.read_preset("digits", Hyperparameters) | {"steps": 3, "warmup_steps": 1})
        runs = ablations.trainings_of(["lambda_0", "lambda_1", "lambda_5"], [0], shared, root)
        same = {"settings": json.loads(json.dumps(recorded(prepare(runs).runs[0].settings)))}
        kept = _result("alpha_3", 0, 0.5) | same
        ablation_results.add(root / "results.json", [kept, _result("lambda_1", 1, 0.1) | same])
        ablation_results.add(root / "others.json", [_result("lambda_1", 0, 0.1)])

        def train(waiting, ended, *, program):
            self.assertEqual(program[1:], ("-m", "semppl.benchmarks.small_budget.resnet9_variants"))
            for run, code in zip(waiting, (0, 1, 0), strict=True):
                ended(run, 1.0, code)

        judged = results.Result("semppl", 0, 0, {"accuracy": {"projections": {"logistic_regression": 0.7}}})
        log = {"seed": 0, "steps": 3, "accuracy": {}, "curve": []}
        with (
            mock.patch.object(ablations, "train_side_by_side", train),
            mock.patch.object(ablations.results, "judge", return_value=judged),
            mock.patch.object(ablations, "log_of", return_value=log),
        ):
            found, failed = ablations.run(runs, root, root / "results.json")
        self.assertEqual([run.folder.name for run in failed], ["lambda_1-0"])
        self.assertEqual([result["variant"] for result in found], ["lambda_0", "lambda_5"])
        self.assertEqual([result["accuracy"] for result in found], [judged.measures["accuracy"]] * 2)
        written = ablation_results.read(root / "results.json")
        self.assertEqual([row["variant"] for row in written], ["lambda_0", "lambda_5", "alpha_3", "lambda_1"])
        self.assertIn(kept, written)
        with self.assertRaisesRegex(
            ValueError, "^--ablations_file must have results of the same settings, or be a new"
        ):
            ablations.run(runs, root, root / "others.json")

    @testing.slow
    def test_variants_are_trained_evaluated_and_continued_and_other_settings_are_refused(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        shared = Hyperparameters(**presets.read_preset("digits", Hyperparameters) | {"steps": 3, "warmup_steps": 1})
        runs = ablations.trainings_of(["preset", "lambda_0"], [0], shared, root / "runs")
        found, failed = ablations.run(runs, root / "runs", root / "results.json")
        self.assertEmpty(failed)
        self.assertEqual([result["variant"] for result in found], ["preset", "lambda_0"])
        self.assertEqual(ablation_results.read(root / "results.json"), json.loads(json.dumps(found)))
        with mock.patch.object(trainings, "_train", side_effect=AssertionError):
            self.assertEqual(ablations.run(runs, root / "runs", root / "results.json"), (found, []))
            others = ablations.trainings_of(["preset"], [0], dataclasses.replace(shared, steps=4), root / "runs")
            with self.assertRaisesRegex(
                ValueError, r"^--workdir must hold runs with the same settings, .* --steps=4 \(there: 3\)$"
            ):
                ablations.run(others, root / "runs", None)


class AblationResultsTest(parameterized.TestCase):
    def test_a_row_has_means_over_seeds_and_the_paired_difference_from_the_preset(self):
        # Differences 0.1, 0.2, 0.3 by logistic regression: mean 0.2, t(0.975, 2 degrees) = 4.302653, 0.1/√3 = 0.057735.
        preset = [_result("preset", seed, 0.5 - 0.1 * seed) for seed in range(3)]
        changed = [_result("lambda_1", seed, 0.6) for seed in range(3)]
        *_, row, _, verdict = ablation_results.table([*preset, *changed]).splitlines()
        difference = "+0.200 (-0.048 to +0.448)"
        self.assertEqual(
            row,
            f"| λ = 1 | 1,000 | 0.100 (0.100–0.100) | 0.600 (0.600–0.600) | 0.300 (0.300–0.300) | {difference} | 0.800 | 0.700 |",
        )
        self.assertEqual(
            verdict, "In bold: 0 of 1 differences are significant at 95 %; 0.1 false positives are expected."
        )

    def test_a_difference_that_is_significant_is_bold_and_one_seed_has_no_interval(self):
        preset = [_result("preset", seed, 0.5) for seed in range(3)]
        changed = [_result("lambda_1", seed, 0.4 + 0.01 * seed) for seed in range(3)]
        self.assertIn("| **-0.090** (-0.115 to -0.065) |", ablation_results.table([*preset, *changed]))
        self.assertIn("| -0.100 |", ablation_results.table([preset[0], changed[0]]))

    def test_a_table_without_the_preset_says_that_nothing_is_compared(self):
        table = ablation_results.table([_result("lambda_1", 0, 0.5)])
        self.assertEndsWith(table, "there is nothing to compare with.")

    @parameterized.parameters('{"data": "digits"}', "[{]", "[1]", '[{"variant": "preset"}]')
    def test_a_file_of_something_else_is_refused(self, content):
        file = self.create_tempfile(content=content).full_path
        with self.assertRaisesRegex(ValueError, "^--ablations_file must be a file that this program has written."):
            ablation_results.read(pathlib.Path(file))

    def test_a_file_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(ValueError, "^--ablations_file must name a file that can be read. .* No such file"):
            ablation_results.read(pathlib.Path("nowhere") / "some.json")

    def test_results_of_other_settings_are_refused_before_they_would_be_overwritten(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "some.json"
        settings = {"labels_per_class": 1, "steps": 600, "widths": (8, 16)}
        ablation_results.require_compatible(path, "digits", {("preset", 0): {"steps": 5}})  # no file yet
        ablation_results.add(path, [_result("preset", 0, 0.5) | {"settings": settings}])
        ablation_results.require_compatible(path, "tfds:digits", {("preset", 0): settings})
        own = {"steps": 9, "seed": 1, "label_seed": 1}
        ablation_results.require_compatible(path, "digits", {("preset", 1): settings | own})
        ablation_results.require_compatible(path, "digits", {("queue_512", 0): settings | {"queue_size": 512}})
        grown = settings | {"first_steps": 5, "first_batch_size": 64}
        ablation_results.require_compatible(path, "digits", {("growing_batch", 1): grown | own})
        for data, key, changes, differing in (
            ("digits", ("preset", 0), {"steps": 601}, "steps = 601 (there: 600)"),
            ("digits", ("preset", 1), {"labels_per_class": 4}, "labels_per_class = 4 (there: 1)"),
            ("tfds:cifar10", ("lambda_0", 0), {}, "data = cifar10 (there: digits)"),
            ("digits", ("lambda_0", 0), {"queue_size": 64}, "queue_size = 64 (there: None)"),
            ("digits", ("queue_512", 3), {"queue_size": 512, "widths": (8, 8)}, "widths = [8, 8] (there: [8, 16])"),
            ("digits", ("growing_batch", 0), {"batch_size": 64}, "batch_size = 64 (there: None)"),
        ):
            with self.assertRaises(ValueError) as raised:
                ablation_results.require_compatible(path, data, {key: settings | changes})
            self.assertEndsWith(str(raised.exception), f"some.json, whose preset of seed 0 differs in {differing}")

    def test_the_committed_results_make_tables(self):
        folder = pathlib.Path(ablations.__file__).parent / "ablations"
        names = [path.name for path in folder.glob("*.json") if path.name != "cifar10_same_class_negatives.json"]
        self.assertContainsSubset(["digits_negatives.json"], names)
        for name in names:
            self.assertIn("| the preset | ", ablation_results.table(ablation_results.read(folder / name)), name)


class Resnet9VariantsTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.dict(registry.ENCODERS))
        self.enter_context(mock.patch.object(registry, "WITH_WIDTHS", registry.WITH_WIDTHS))
        resnet9_variants.register()

    def _both(self, name):
        images = tf.random.stateless_normal([4, 12, 12, 3], seed=[0, 1])
        encoders = [registry.build_encoder(kind, widths=(8, 16)) for kind in ("resnet9", name)]
        outputs = [encoder(images) for encoder in encoders]
        for ours, theirs in zip(encoders[1].trainable_variables, _without_gains(encoders, name), strict=True):
            self.assertEqual(ours.shape, theirs.shape)
            ours.assign(theirs)
        return images, encoders, outputs[0], encoders[1](images)

    def test_a_batch_norm_without_gain_starts_as_one_with_gain_and_has_an_offset_alone(self):
        _, encoders, expected, found = self._both("resnet9_fixed_gain")
        self.assertAllClose(found, expected, rtol=1e-6, atol=1e-6)
        names = {variable.name.rpartition("/")[2] for variable in encoders[1].trainable_variables}
        self.assertEqual(names, {"kernel:0", "beta:0"})

    def test_pooling_after_a_normalisation_that_changes_signs_takes_other_maxima(self):
        # At inference the norm is affine and rising in each channel: the order makes no difference, until a gain is negative.
        images, encoders, expected, found = self._both("resnet9_norm_before_pool")
        self.assertAllClose(found, expected, rtol=1e-5, atol=1e-6)
        for encoder in encoders:
            encoder.pooled_norms[0].gamma.assign(-encoder.pooled_norms[0].gamma)
        self.assertNotAllClose(encoders[1](images), encoders[0](images), rtol=1e-3)

    def test_other_norms_are_refused(self):
        with self.assertRaisesRegex(ValueError, "^`norm` must be batch. Received: norm='group'$"):
            registry.build_encoder("resnet9_fixed_gain", norm="group")


def _without_gains(encoders, name):
    """The trained variables of the first encoder, without the gains if the variant has none."""
    first = encoders[0].trainable_variables
    return [variable for variable in first if name != "resnet9_fixed_gain" or "gamma" not in variable.name]


def _result(variant, seed, accuracy):
    """A result as the program writes it."""
    values = {"nearest_neighbours": 0.1, "logistic_regression": accuracy, "label_spreading": 0.3}
    curve = [{"pseudo_label_accuracy": 0.9}, {"pseudo_label_accuracy": 0.8, "pseudo_label_coverage": 0.7}]
    same = {"data": "digits", "settings": {"labels_per_class": 1}}
    return same | {"variant": variant, "seed": seed, "steps": 1000, "accuracy": {"projections": values}, "curve": curve}


def _part(setting="large_size", value=8, steps=2):
    return growing.FirstPart(steps, setting, value)


def _data(**changes):
    return growing.load(Hyperparameters(**tiny.settings(steps=5, large_size=12, **changes)))


class GrowingTest(parameterized.TestCase):
    @parameterized.parameters(("large_size", 8), ("batch_size", 8))
    def test_the_first_part_differs_in_one_setting(self, setting, value):
        whole = Hyperparameters(**tiny.settings(steps=3, large_size=12))
        found = _part(setting, value).settings(whole)
        self.assertEqual(found, dataclasses.replace(whole, **{setting: value}))
        recorded = _part(setting, value).recorded(whole)
        differing = {name for name, then in recorded.items() if whole.identity().get(name) != then}
        self.assertEqual(differing, {"first_steps", f"first_{setting}"})

    @parameterized.parameters(
        ({"value": 12}, "--first_large_size must be less than --large_size=12. Received: 12"),
        ({"value": 7}, "--first_large_size must be 8 or more pixels. Received: 7"),
        ({"setting": "batch_size", "value": 16}, "--first_batch_size must be less than --batch_size=16. Received: 16"),
        (
            {"setting": "batch_size", "value": 4},
            "--first_batch_size must be more than --labelled_batch_size=4. Received: 4",
        ),
        ({"steps": 3}, "--first_steps must be from 1 to 2, less than --steps. Received: 3"),
        ({"steps": 0}, "--first_steps must be from 1 to 2, less than --steps. Received: 0"),
    )
    def test_a_part_that_is_not_smaller_or_shorter_is_refused(self, part, message):
        with self.assertRaises(ValueError) as raised:
            _part(**part).settings(Hyperparameters(**tiny.settings(steps=3, large_size=12)))
        self.assertStartsWith(str(raised.exception), message)

    @parameterized.parameters((0, 0, "none"), (6, 8, "--first_large_size=6 --first_batch_size=8"))
    def test_one_setting_grows(self, size, batch, received):
        with (
            flagsaver.flagsaver(first_large_size=size, first_batch_size=batch),
            self.assertRaisesRegex(ValueError, f"^Set exactly one of .* Received: {received}$"),
        ):
            growing.part_from_flags()

    @parameterized.parameters(
        ({"method": "simclr"}, "--method must be semppl. Received: simclr"),
        ({"initial_run": "some"}, "--initial_run must be empty, since runs begin with random weights. Received: some"),
    )
    def test_settings_that_it_would_ignore_are_refused(self, changes, message):
        with self.assertRaises(ValueError) as raised:
            _data(**changes)
        self.assertEqual(str(raised.exception), message)

    @parameterized.parameters(("large_size", 8, (2, 16, 8, 8, 1)), ("batch_size", 8, (2, 8, 12, 12, 1)))
    def test_the_first_steps_have_the_small_batches_and_the_rest_go_on_from_there(self, setting, value, small):
        taken = []

        def take(model, settings, batches, count):
            shapes = [tuple(batch["large"].shape) for batch in batches]
            taken.append((settings, shapes[0], len(shapes), count))
            return [{"loss": 1.0}] * count

        data = _data()
        with (
            mock.patch.object(growing, "_take_steps", take),
            mock.patch.object(growing.initial_encoder, "fit_whitening") as fitted,
        ):
            model, reports = growing.train(data, _part(setting, value))
        fitted.assert_called_once()
        first = dataclasses.replace(data.settings, **{setting: value})
        self.assertEqual(taken, [(first, small, 5, 2), (data.settings, (2, 16, 12, 12, 1), 3, 3)])
        self.assertEqual([report["step"] for report in reports], [1, 2, 3, 4, 5])
        model.online(np.zeros((1, 12, 12, 1), np.float32))
        row = growing.result_of(data, _part(setting, value), model, reports)
        self.assertEqual((row["variant"], row["steps"]), (growing.NAMES[setting], 5))
        self.assertEqual(row["settings"][f"first_{setting}"], value)
        found = ablation_results.table([row])
        self.assertIn(f"at first (2 steps at {value}) | 5 |", found)

    @parameterized.parameters(("large_size", 8), ("batch_size", 8))
    def test_steps_of_both_parts_change_the_weights_of_one_model(self, setting, value):
        data, seen = _data(), []

        def forward(self, batch):
            seen.append((tuple(batch["large"].shape), self.hyperparameters.batch_size))
            return train_step(self, batch)

        train_step = SemPPL.train_step
        with mock.patch.object(SemPPL, "train_step", forward):
            model, reports = growing.train(data, _part(setting, value))
        small = (2, 16, 8, 8, 1) if setting == "large_size" else (2, 8, 12, 12, 1)
        self.assertEqual(seen, [(small, small[1]), ((2, 16, 12, 12, 1), 16)])  # traced once for each part
        self.assertEqual((int(model.optimizer.iterations), len(reports)), (5, 5))
        self.assertLen({report["loss"] for report in reports}, 5)

    def test_a_step_that_is_not_finite_ends_the_run(self):
        model = mock.Mock(make_train_function=lambda force: lambda rows: {"loss": next(rows)})
        model.optimizer.iterations = 1
        batches = tf.data.Dataset.from_tensor_slices([1.0, np.nan])
        with self.assertRaisesRegex(callbacks.NotFinite, "^step 1: loss = nan"):
            growing._take_steps(model, Hyperparameters(**tiny.settings()), batches, 3)

    def test_a_run_that_is_not_finite_ends_the_program_in_a_line(self):
        broken = callbacks.NotFinite("step 1: loss = nan")
        with (
            mock.patch.object(
                growing, "load", return_value=mock.Mock(settings=Hyperparameters(**tiny.settings(seed=7)))
            ),
            mock.patch.object(
                growing.pretrain, "hyperparameters_from_flags", return_value=Hyperparameters(**tiny.settings())
            ),
            mock.patch.object(growing, "part_from_flags"),
            mock.patch.object(growing, "train", side_effect=broken),
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            self.assertEqual(growing.main([]), 3)
        self.assertEqual(errors.getvalue(), "error: seed 7: step 1: loss = nan\n")

    @parameterized.parameters("float32", "bfloat16")
    @testing.slow
    def test_parts_of_equal_settings_are_one_run(self, precision):
        folder = pathlib.Path(self.create_tempdir().full_path) / "run"
        changes = {"steps": 3, "warmup_steps": 1, "precision": precision}
        settings = Hyperparameters(**presets.read_preset("digits", Hyperparameters) | changes)
        pretrain.pretrain(settings, folder)
        expected = evaluate(folder, evaluators=CLASSIFIERS)["accuracy"]
        data = growing.load(settings)
        with mock.patch.object(growing.FirstPart, "settings", lambda self, whole: whole):
            model, reports = growing.train(data, _part(value=4))
        online = checkpoints.load_online(folder)[1]
        for ours, theirs in zip(model.online.get_weights(), online.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        row = growing.result_of(data, _part(value=4), model, reports)
        self.assertEqual(row["accuracy"], {name: expected[name] for name in ("features", "projections")})


class WithoutWorkdirTest(parameterized.TestCase):
    @parameterized.parameters(("more_labels", "runs"), ("ablations", "table_only"))
    def test_the_message_names_what_may_stand_in_place_of_a_workdir(self, name, accepted):
        command = [sys.executable, "-m", f"semppl.benchmarks.small_budget.{name}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEndsWith(found.stderr.strip(), f"must name a folder, unless --{accepted} is given. Received: none")

    @parameterized.parameters(
        *("heads_cost", "machinery_cost", "peer_step", "serving_latency", "step_share", "step_time", "tpu_compile"),
        *("comparisons/method_steps", "small_budget/rates", "small_budget/growing"),
    )
    def test_a_program_that_writes_no_run_says_so_before_it_parses_flags(self, name):
        text = (pathlib.Path(rates.__file__).parents[1] / f"{name}.py").read_text(encoding="utf-8")
        main = text.partition('if __name__ == "__main__":\n')[2]
        self.assertStartsWith(main.strip(), "run_flags.accept_none()")

    def test_a_program_that_writes_no_run_needs_none(self):
        with mock.patch.object(run_flags, "_instead", []), flagsaver.flagsaver():
            with self.assertRaisesRegex(flags.IllegalFlagValueError, "must name a folder"):
                flags.FLAGS.workdir = None
            run_flags.accept_none()
            flags.FLAGS.workdir = None


class RatesTest(parameterized.TestCase):
    def test_the_table_has_steps_of_equal_time(self):
        lines = rates.table({"simclr": 0.25, "semppl": 0.5}, 600).splitlines()
        self.assertEqual(lines[0], "| method | core-seconds a step | steps in 5.0 minutes on one core |")
        self.assertEqual(lines[2:], ["| simclr | 0.2500 | 1,200 |", "| semppl | 0.5000 | 600 |"])
        self.assertEqual(rates.table({"simclr": 0.25}, 600).splitlines()[2:], ["| simclr | 0.2500 |"])
        self.assertEqual(rates.table({"semppl": 0.25}, 0).splitlines()[2:], ["| semppl | 0.2500 |"])

    @parameterized.parameters(
        ("supervised", "cifar", 0), ("fixmatch", "randaugment", 4), ("simclr", "cifar", 4), ("semppl", "cifar", 4)
    )
    def test_a_method_is_timed_with_the_settings_of_its_runs_in_a_comparison(self, method, recipe, labelled):
        shared = Hyperparameters(
            **tiny.settings(recipe="cifar", small_views=0, channels=3, pixel_mean=(0.5,) * 3, pixel_stddev=(0.2,) * 3)
        )
        settings = rates.settings_of(method, shared)
        self.assertEqual((settings.method, settings.recipe, settings.labelled_batch_size), (method, recipe, labelled))

    def test_seconds_are_medians_over_turns_without_the_first_steps(self):
        clock, taken = [0.0], []

        def step_of(name, durations):
            durations = iter(durations)

            def step():
                taken.append(name)
                clock[0] += next(durations)

            return step

        first = [100.0] * rates.UNTIMED
        steps = {
            "slow": step_of("slow", [*first, 1.0, 3.0, *first, 7.0, 9.0, *first, 4.0, 4.0]),
            "fast": step_of("fast", [*first, 0.1, 0.1, *first, 0.2, 0.4, *first, 0.5, 0.5]),
        }
        with mock.patch.object(rates.time, "perf_counter", side_effect=lambda: clock[0]):
            found = rates.medians_over_turns(steps, 3, 2)
        self.assertAlmostEqual(found["slow"], 4.0)  # of 2, 8 and 4
        self.assertAlmostEqual(found["fast"], 0.3)  # of 0.1, 0.3 and 0.5
        self.assertEqual(taken[: 2 * (rates.UNTIMED + 2)], [*["slow"] * 7, *["fast"] * 7])

    def _main(self, names, path, seconds):
        settings = Hyperparameters(**tiny.settings(data="tfds:mnist"))
        with (
            flagsaver.flagsaver(measured_methods=names, rates_file=str(path)),
            mock.patch.object(rates.pretrain, "hyperparameters_from_flags", return_value=settings),
            mock.patch.object(rates, "make_step"),
            mock.patch.object(rates, "medians_over_turns", return_value=seconds),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            return rates.main([]), errors.getvalue()

    def test_rates_of_single_methods_are_replaced_and_others_kept(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "rates.json"
        path.write_text(json.dumps({"cifar10": {"byol": 1.0}, "mnist": {"byol": 2.0, "semppl": 3.0}}))
        self.assertEqual(self._main(["semppl"], path, {"semppl": 0.12345}), (0, ""))
        expected = {"cifar10": {"byol": 1.0}, "mnist": {"byol": 2.0, "semppl": 0.1235}}
        self.assertEqual(json.loads(path.read_text()), expected)

    def test_an_unknown_method_is_named_by_its_flag(self):
        code, errors = self._main(["sempl"], "", {})
        self.assertEqual(code, 2)
        self.assertRegex(errors, "^error: --measured_methods must be of .* Received: sempl; did you mean semppl?")


class InferenceTricksTest(tf.test.TestCase):
    def test_both_sides_are_averaged_in_plain_loops(self):
        images = np.random.default_rng(0).uniform(size=(2, 3, 4, 1)).astype(np.float32)
        found = inference_tricks.of_both_sides(lambda x: tf.reshape(x, [2, -1]), tf.constant(images))
        for image, mean in zip(images, found, strict=True):
            sides = [image.reshape(-1), image[:, ::-1].reshape(-1)]
            expected = sum(side / np.sqrt(sum(value**2 for value in side)) for side in sides) / 2
            self.assertAllClose(mean, expected, rtol=1e-6)

    def test_a_run_without_a_target_network_has_none(self):
        folder = pathlib.Path(self.get_temp_dir())
        settings, _ = write_run(folder / "run")
        self.assertIsNone(checkpoints.load_target(folder / "run"))
        online = checkpoints.load_online(folder / "run")[1]
        names = [name for name, *_ in inference_tricks.ways(settings, online, None, [settings.large_size, 12])]
        self.assertEqual(
            names, ["online network, 8 pixels", "mean with the horizontal flip, 8 pixels", "online network, 12 pixels"]
        )


class MoreLabelsTest(parameterized.TestCase):
    def test_accuracies_are_those_that_evaluate_measures_of_the_same_weights_with_so_many_labels(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        run, other = folder / "run", folder / "other"
        write_run(run, method="simclr", recipe="digits", labels_per_class=1, label_seed=3)
        write_run(other, method="simclr", recipe="digits", labels_per_class=5, label_seed=3)
        (run / "done.json").write_text(json.dumps({"step": 7, "weights_sha256": "ab"}))
        (run / "metrics.jsonl").write_text(json.dumps({"step": 7, "held_out_accuracy": 0.4}) + "\n")
        expected = evaluate(other, evaluators=CLASSIFIERS)["accuracy"]
        (run / "metrics.json").write_text(json.dumps({"accuracy": {}}))
        (log,) = more_labels.logs_of(run, [5])
        self.assertEqual(log["accuracy"], {name: expected[name] for name in ("features", "projections")})
        self.assertEqual((log["curve"], log["labels_per_class"], log["settings"]["labels_per_class"]), ([], 5, 5))
        self.assertEqual(log["labels_per_class_of_run"], 1)
        for budget in (0, 1):
            with self.assertRaisesRegex(
                ValueError, f"^--other_labels_per_class must be whole numbers from 1 on, .* Received: {budget}$"
            ):
                more_labels.logs_of(run, [budget])

    def test_what_is_no_number_is_refused_as_typed(self):
        with (
            flagsaver.flagsaver(other_labels_per_class=["4", "many"]),
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            self.assertEqual(more_labels.main([]), 2)
        self.assertEndsWith(errors.getvalue(), "must be comma-separated whole numbers. Received: many\n")

    def test_a_folder_that_is_no_run_is_named_by_its_flag(self):
        with self.assertRaisesRegex(ValueError, "^--runs must .* Received: nowhere"):
            more_labels.logs_of(pathlib.Path("nowhere"), [4])

    def test_a_run_that_was_trained_with_labels_is_refused(self):
        run = pathlib.Path(self.create_tempdir().full_path) / "run"
        write_run(run)
        with self.assertRaisesRegex(ValueError, "^--runs must name runs of methods that use no labels. .*, of semppl$"):
            more_labels.logs_of(run, [1])


if __name__ == "__main__":
    tf.test.main()
