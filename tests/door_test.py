"""Tests of the public door: `import semppl`, and what it offers."""

import contextlib
import inspect
import io
import json
import os
import pathlib
import pydoc
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from PIL import Image

import semppl
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.programs.presets import settings_by_name
from semppl.tests import testing
from semppl.tests.door_calls import export_and_read_card
from semppl.tests.export.random_runs import write_run
from semppl.tests.trainers.runs import TINY, Run, digest
from semppl.trainers.run_options import RunOptions

_TINY = {"preset": "digits"} | {
    name: type(default)(value)
    for name, _, value in (flag.removeprefix("--").partition("=") for flag in TINY[1:])
    for default in [getattr(Hyperparameters, name, 0)]
}
_FUNCTIONS = ("doctor", "evaluate", "export", "load", "pretrain")


def _python(code):
    """Runs code in a process of its own; returns what it prints."""
    root = pathlib.Path(semppl.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


class ImportTest(parameterized.TestCase):
    def test_only_the_standard_library_is_imported(self):
        code = "import sys; before = set(sys.modules); import semppl; print(*{n.split('.')[0] for n in set(sys.modules) - before})"
        self.assertEmpty(set(_python(code).split()) - {"semppl"} - sys.stdlib_module_names)

    @parameterized.parameters(
        "import semppl",
        "import semppl.export.model; import semppl",
        "from semppl import export, doctor; import semppl.export.model, semppl.doctor",
    )
    def test_functions_are_called_and_packages_imported_in_any_order(self, imports):
        code = f"""{imports}
import inspect, sys
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "numpy")]
for function in (semppl.export, semppl.doctor):
    assert callable(function) and "preset" in str(inspect.signature(semppl.doctor))
    assert "export_dir" in str(inspect.signature(semppl.export))
from semppl.export import model
import semppl.export.foreign as foreign
assert (model.__name__, foreign.__name__) == ("semppl.export.model", "semppl.export.foreign")
assert semppl.export.model is model
for call in (lambda: semppl.export("nothing", "nothing/1"), lambda: semppl.export("nothing", "nothing/1", bad=1)):
    try:
        call()
    except (ValueError, TypeError) as error:
        print(type(error).__name__)
"""
        self.assertEqual(_python(code).split(), ["ValueError", "TypeError"])

    def test_a_module_of_a_package_with_a_function_s_name_is_patched(self):
        with mock.patch("semppl.export.export_model.export_with", return_value={"step": 3}) as export:
            self.assertEqual(semppl.export("run", "served/1", dtype="int8"), {"step": 3})
        export.assert_called_once_with(pathlib.Path("run"), pathlib.Path("served/1"), {"dtype": "int8"}, moved=None)

    @parameterized.parameters(*_FUNCTIONS)
    def test_help_shows_the_function(self, name):
        function = getattr(semppl, name)
        self.assertRegex(pydoc.render_doc(function), r"Raises:\n +ValueError: [Ii]f")
        self.assertNotEmpty(inspect.signature(function).parameters)

    def test_all_names_are_there(self):
        self.assertCountEqual(semppl.__all__, _FUNCTIONS)


class SettingsTest(parameterized.TestCase):
    def _settings(self, preset="", **settings):
        return settings_by_name(preset, settings, Hyperparameters, RunOptions)

    def test_settings_override_the_preset_and_options_stand_apart(self):
        values, options = self._settings("digits", steps=7, checkpoint_every=3)
        self.assertEqual((values["steps"], values["batch_size"], values["pixel_mean"]), (7, 128, (0.3,)))
        self.assertEqual(options, {"checkpoint_every": 3})

    def test_a_flag_file_of_one_s_own_is_read(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "own.flags"
        path.write_text("# mine\n--steps=9\n--class_balance\n--log_every=2\n")
        self.assertEqual(self._settings(path), ({"steps": 9, "class_balance": True}, {"log_every": 2}))

    def test_values_become_what_a_flag_would_hold(self):
        values, _ = self._settings(data_dir=pathlib.Path("a/b"), pixel_mean=[0.5], learning_rate=1)
        self.assertEqual(values, {"data_dir": "a/b", "pixel_mean": (0.5,), "learning_rate": 1.0})
        self.assertIsInstance(values["learning_rate"], float)

    def test_the_flags_of_the_programs_stay_as_they_are(self):
        before = Hyperparameters(labels_per_class=1)
        self._settings("digits")
        self.assertEqual(Hyperparameters(labels_per_class=1), before)

    @parameterized.parameters(
        ({"stepz": 3}, "Every setting must be a flag of the program. Received: stepz; did you mean steps"),
        (
            {"preset": "digit"},
            "preset must be one of cifar10_1_percent_cpu, cifar10_resnet18_gpu, digits, .*Received: digit",
        ),
    )
    def test_what_is_unknown_is_refused(self, settings, message):
        with self.assertRaisesRegex(ValueError, message):
            self._settings(**settings)

    def test_a_flag_file_with_an_unknown_flag_is_refused(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "own.flags"
        path.write_text("--stepz=9\n")
        with self.assertRaisesRegex(ValueError, "preset must be a file of known flags. Received: .*own.flags .*stepz"):
            self._settings(path)


class RunTest(tf.test.TestCase):
    """One short run through the door, and what follows from it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        cls.settings = _TINY | {"steps": 20}
        cls.hyperparameters = {
            name: value for name, value in cls.settings.items() if name not in ("checkpoint_every", "log_every")
        }
        cls.handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        with contextlib.redirect_stdout(io.StringIO()) as cls.printed:
            cls.done = semppl.pretrain(cls.folder / "run", **cls.settings)

    def test_the_weights_are_those_of_the_program(self):
        program = Run(self.folder / "program", "--steps=20")
        self.assertEqual(program.wait(), 0, program.stderr)
        self.assertEqual(self.done, {"step": 20, "weights_sha256": digest(self.folder / "program")})

    def test_progress_is_printed_in_lines(self):
        self.assertIn("step 20/20", self.printed.getvalue())
        self.assertNotIn("\x1b", self.printed.getvalue())

    def test_signals_are_left_alone(self):
        self.assertEqual([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)], self.handlers)

    def test_a_finished_run_is_not_trained_again(self):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertEqual(semppl.pretrain(self.folder / "run", **self.settings), self.done)
        self.assertIn("all 20 steps are done", printed.getvalue())

    @testing.slow
    def test_a_second_run_in_this_process_ends_with_the_same_weights(self):
        with contextlib.redirect_stdout(io.StringIO()):
            again = semppl.pretrain(self.folder / "again", **self.settings, strategy="default")
        self.assertEqual(again, self.done)

    def test_other_settings_in_the_same_folder_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"--workdir must hold a run with the same settings.*--steps=21"):
            semppl.pretrain(self.folder / "run", **self.settings | {"steps": 21})

    def test_settings_are_checked_as_the_program_does(self):
        with self.assertRaisesRegex(ValueError, "--steps must be a whole number. Received: many"):
            semppl.pretrain(self.folder / "other", **self.settings | {"steps": "many"})
        self.assertFalse((self.folder / "other").exists())

    def test_a_run_is_evaluated(self):
        with contextlib.redirect_stderr(io.StringIO()):
            measured = semppl.evaluate(self.folder / "run", evaluators=["nearest_neighbours"])
        self.assertEqual(set(measured["accuracy"]), {"raw_pixels", "features", "projections", "joint"})
        self.assertEqual(
            json.loads((self.folder / "run" / "metrics.json").read_text())["accuracy"], measured["accuracy"]
        )

    def test_evaluation_checks_what_the_program_checks(self):
        for settings, message in (
            ({"k": 0}, "--k must be"),
            ({"split": "train"}, "--split must be one of test, valid"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                semppl.evaluate(self.folder / "run", **settings)

    def test_the_doctor_reports_and_writes_only_where_it_is_asked_to(self):
        with contextlib.redirect_stderr(io.StringIO()):
            report = semppl.doctor(trial_steps=0, **self.hyperparameters)
            written = semppl.doctor(self.folder / "doctor", trial_steps=0, **self.hyperparameters)
        self.assertEqual(report["parts"], {"labelled": 10, "unlabelled": 1490, "test": 297})
        self.assertEqual(written, report)
        self.assertEqual(json.loads((self.folder / "doctor" / "doctor.json").read_text()), report)


class ModelTest(tf.test.TestCase):
    """A model with random weights and a memory, and five pictures."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run")
        cls.card = export_and_read_card(cls.folder / "run", cls.folder / "served" / "1", fine_tunable=False)
        cls.model = semppl.load(cls.folder / "served" / "1")
        images = np.round(load_source("digits").test.images[:5] * 255).astype(np.uint8)[..., 0]
        cls.paths = [cls.folder / f"{number}.png" for number in range(5)]
        for path, image in zip(cls.paths, images, strict=True):
            Image.fromarray(image).save(path)
        (cls.folder / "broken.png").write_bytes(b"no picture")
        Image.fromarray(images[0]).save(cls.folder / "0.webp", lossless=True)

    def test_answers_are_those_of_the_signature(self):
        served = tf.saved_model.load(str(self.folder / "served" / "1"))  # a signature does not keep it alive
        expected = served.signatures["serving_default"](bytes=tf.constant([path.read_bytes() for path in self.paths]))
        answers = self.model.answer(self.paths)
        self.assertEqual(answers.class_names.tolist(), [name.decode() for name in expected["class_name"].numpy()])
        for name, values in (
            ("label", answers.labels),
            ("probability", answers.probabilities),
            ("abstain", answers.abstains),
            ("ood", answers.ood),
            ("embedding", answers.embeddings),
            ("valid", answers.valid),
        ):
            self.assertAllEqual(values, expected[name])
            self.assertEqual(values.dtype, expected[name].dtype.as_numpy_dtype)

    def test_classes_are_named_by_the_assets(self):
        self.assertEqual(self.model.class_names, tuple("0123456789"))
        answers = self.model.answer(self.paths)
        self.assertEqual([self.model.class_names[label] for label in answers.labels], answers.class_names.tolist())

    def test_a_picture_that_only_pillow_decodes_is_answered_and_a_broken_one_is_not_valid(self):
        answers = self.model.answer([self.paths[0], self.folder / "0.webp", self.folder / "broken.png"])
        self.assertAllEqual(answers.valid, [True, True, False])
        self.assertAllClose(answers.embeddings[1], answers.embeddings[0], atol=1e-6)
        self.assertEqual((answers.labels[2], answers.class_names[2], answers.abstains[2]), (-1, "", True))
        self.assertAllEqual(answers.embeddings[2], np.zeros(8))

    def test_paths_come_from_any_iterable_and_more_than_a_batch_of_them(self):
        several = self.model.embed(str(path) for path in self.paths * 15)
        self.assertEqual((several.shape, several.dtype), ((75, 8), np.float32))
        self.assertAllClose(several, np.tile(self.model.embed(self.paths), [15, 1]), atol=1e-6)
        self.assertAllClose(np.linalg.norm(several, axis=1), np.ones(75), atol=1e-5)

    def test_no_paths_have_no_answers(self):
        self.assertEqual(self.model.embed([]).shape, (0, 8))
        answers = self.model.answer(())
        self.assertEqual((len(answers.class_names), answers.labels.dtype), (0, np.int32))

    def test_what_cannot_be_read_is_refused(self):
        with self.assertRaisesRegex(ValueError, r"paths must be picture files .*gone.png \(No such file") as caught:
            self.model.answer([*self.paths, self.folder / "gone.png"])
        self.assertTrue(caught.exception.__suppress_context__)  # one traceback
        with self.assertRaisesRegex(ValueError, "paths must be a list of picture files. Received: one path, a.png"):
            self.model.embed("a.png")
        with self.assertRaisesRegex(ValueError, "--model must be the folder of an exported model"):
            semppl.load(self.folder)

    def test_a_model_without_a_memory_embeds_and_does_not_answer(self):
        card = semppl.export(self.folder / "run", self.folder / "plain" / "1", memory=False, fine_tunable=False)
        self.assertNotIn("memory", card)
        plain = semppl.load(self.folder / "plain" / "1")
        self.assertAllClose(plain.embed(self.paths), self.model.embed(self.paths), atol=1e-6)
        with self.assertRaisesRegex(ValueError, "has a memory: export with memory=True"):
            plain.answer(self.paths)

    def test_a_setting_without_effect_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--num_neighbours=3 must come with a memory. Received: --nomemory"):
            semppl.export(self.folder / "run", self.folder / "other" / "1", memory=False, num_neighbours=3)
        self.assertFalse((self.folder / "other").exists())

    def test_the_aim_is_a_risk_unless_a_coverage_is_given(self):
        self.assertEqual(self.card["memory"]["trust"]["target_risk"], 0.05)
        card = semppl.export(
            self.folder / "run", self.folder / "coverage" / "1", target_coverage=0.7, fine_tunable=False
        )
        self.assertEqual((card["memory"]["trust"]["target_risk"], card["memory"]["trust"]["target_coverage"]), (0, 0.7))


if __name__ == "__main__":
    assert testing
    absltest.main()
