"""Tests of trainers/methods.py: what a method does not use is refused, or dropped where a preset has it."""

import contextlib
import dataclasses
import io
import pathlib
import re
from typing import ClassVar
from unittest import mock

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized

import semppl
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import OF_METHODS
from semppl.programs.presets import names_given, read_preset
from semppl.tests import testing, tiny  # noqa: F401  (marks the flags as parsed)
from semppl.trainers import pretrain
from semppl.trainers.methods import METHODS, check_batch, find_method, resolve, settle

_each_method = parameterized.named_parameters((f"_{name}", name) for name in sorted(METHODS))
_CHANGED = {
    "temperature": 0.7,
    "negatives": 3,
    "same_class_negatives": False,
    "semantic_positives": 2,
    "neighbours": 2,
    "min_vote_share": 0.3,
    "min_pseudo_label_coverage": 0.2,
    "queue_size": 77,
    "queue_quotas": True,
    "voting_views": 1,
    "prior_corrected_votes": True,
    "contrastive_weight": 0.9,
    "semantic_weight": 0.8,
    "invariance_weight": 0.4,
    "invariance_stop_gradient": False,
    "nested_dims": (2, 4),
    "compatible_with": "old",
    "compatible_weight": 3.0,
    "target_decay": 0.5,
}
_NOWHERE = pathlib.Path("nowhere")


class _Recorded(Hyperparameters):
    """Hyper-parameters that record which of them are read."""

    read: ClassVar[set[str]] = set()

    def __getattribute__(self, name):
        _Recorded.read.add(name)
        return super().__getattribute__(name)


class MethodSettingsTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_setting_that_a_method_may_not_use_is_tested(self):
        self.assertCountEqual(_CHANGED, OF_METHODS)

    @parameterized.parameters("byol", "simclr")
    def test_with_semantic_positives_the_settings_of_queue_and_vote_are_used_too(self, name):
        self._assert_declared(name, **{f"{name}_semantic_weight": 0.5})

    @_each_method
    def test_a_method_declares_the_settings_that_its_step_reads(self, name):
        self._assert_declared(name)

    def _assert_declared(self, name, **changes):
        labelled = {"labelled_batch_size": 16, "queue_size": 16} if find_method(name).labels_alone else {}
        values = tiny.settings(method=name, queue_size=40, small_views=0, min_pseudo_label_coverage=0.5, **changes)
        settings = _Recorded(**values | labelled)
        _Recorded.read.clear()
        model = pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)
        batch = {key: tf.constant(value) for key, value in tiny.batch(0, values).items()}
        batch["labels"] = batch["truth"] if labelled else batch["labels"]
        tf.function(model.train_step, autograph=False).get_concrete_function(batch)
        self.assertCountEqual(_Recorded.read & set(OF_METHODS), find_method(name).uses(settings))

    @_each_method
    def test_a_setting_that_is_given_and_not_used_is_refused_by_name(self, name):
        settings = Hyperparameters(labels_per_class=1, method=name, **_CHANGED)
        for setting in set(OF_METHODS) - set(find_method(name).uses(settings)):
            default, value = getattr(Hyperparameters, setting), _CHANGED[setting]
            shown = "empty" if default in ("", ()) else default
            allowed = f"{shown} with --method={name}, which does not use the setting"
            message = re.escape(f"--{setting} must be {allowed}. Received: {value}")
            with self.assertRaisesRegex(ValueError, f"^{message}$"):
                settle(settings, given={setting}, workdir=_NOWHERE)

    @_each_method
    def test_a_preset_loads_with_every_method_and_keeps_what_the_method_uses(self, name):
        preset = Hyperparameters(**read_preset("digits", Hyperparameters) | {"method": name})
        settled = settle(preset, given={"method"}, workdir=_NOWHERE)
        self.assertNotEqual(preset.semantic_weight, Hyperparameters.semantic_weight)
        for setting in OF_METHODS:
            origin = preset if setting in find_method(name).uses(preset) else Hyperparameters
            self.assertEqual(getattr(settled, setting), getattr(origin, setting))
        self.assertEqual(dataclasses.replace(settled, **{s: getattr(preset, s) for s in OF_METHODS}), preset)

    def test_defaults_are_accepted_also_as_a_resolved_queue(self):
        settings = Hyperparameters(labels_per_class=1, method="byol", batch_size=32, queue_size=640)
        given = {"queue_size", "semantic_weight", "temperature"}
        self.assertEqual(settle(settings, given=given, workdir=_NOWHERE).queue_size, 0)

    def test_a_run_of_the_method_that_has_other_values_goes_on(self):
        workdir = pathlib.Path(self.create_tempdir())
        former = Hyperparameters(labels_per_class=1, method="supervised", semantic_weight=1.0)
        (workdir / "hyperparameters.json").write_text(former.to_json(), encoding="utf-8")
        for method, weight in (("supervised", 1.0), ("byol", 0.2)):
            settings = Hyperparameters(labels_per_class=1, method=method, semantic_weight=0.7)
            self.assertEqual(settle(settings, given=(), workdir=workdir).semantic_weight, weight)

    @parameterized.parameters(("randaugment", 0), ("randaugment_digits", 0), ("gentle", 32), ("unknown", 32))
    def test_after_views_of_whole_pictures_evaluation_has_their_size_unless_another_is_given(self, recipe, size):
        settings = Hyperparameters(
            labels_per_class=1, method="fixmatch", recipe=recipe, large_size=24, inference_size=32
        )
        self.assertEqual(settle(settings, given={"recipe"}, workdir=_NOWHERE).inference_size, size)
        self.assertEqual(settle(settings, given={"inference_size"}, workdir=_NOWHERE).inference_size, 32)
        workdir = pathlib.Path(self.create_tempdir())
        former = dataclasses.replace(settings, inference_size=40)
        (workdir / "hyperparameters.json").write_text(former.to_json(), encoding="utf-8")
        self.assertEqual(settle(settings, given=(), workdir=workdir).inference_size, 32 if size else 40)

    def test_the_decay_of_moco_is_constant_and_that_of_byol_rises(self):
        for name, decays in (("moco", [0.9, 0.9, 0.9]), ("byol", [0.9, 0.95, 1.0])):
            values = tiny.settings(method=name, target_decay=0.9, steps=20, queue_size=40)
            model = pretrain.build_model(Hyperparameters(**values), tiny.NUM_CLASSES, jit_compile=False)
            self.assertAllClose([model.move_target(step) for step in (0, 10, 20)], decays)

    def test_a_batch_is_as_small_as_the_method_allows(self):
        few = Hyperparameters(labels_per_class=1, method="byol", batch_size=8, labelled_batch_size=4)
        check_batch(few)
        with self.assertRaisesRegex(ValueError, "^--batch_size must be at least negatives . 1 = 11. Received: 8$"):
            check_batch(dataclasses.replace(few, method="relicv2"))

    @parameterized.parameters(
        {"method": "semppl"},
        {"method": "simmatch"},
        {"method": "byol", "byol_semantic_weight": 0.5},
        {"method": "simclr", "simclr_semantic_weight": 0.5},
    )
    def test_the_share_of_labelled_images_that_the_data_give_must_fit_the_queue(self, **changes):
        settings = Hyperparameters(labels_per_class=1, batch_size=32, queue_size=8, steps=5, warmup_steps=0, **changes)
        resolved = resolve(settings, num_images=1500, num_labelled=375, replicas=1)
        self.assertEqual(resolved.labelled_batch_size, 8)
        with self.assertRaisesRegex(ValueError, "^--queue_size must be at least the .* of a batch, 9. Received: 8$"):
            resolve(settings, num_images=1500, num_labelled=425, replicas=1)

    def test_only_words_of_the_command_line_are_given(self):
        argv = ["pretrain", "--preset=digits", "--batch_size", "64", "-seed=3", "--noqueue_quotas", "--", "--steps=4"]
        self.assertEqual(names_given(argv), {"preset", "batch_size", "seed", "queue_quotas"})

    def test_the_command_refuses_before_anything_is_written(self):
        words = [
            f"--workdir={self.create_tempdir().full_path}/run",
            "--preset=digits",
            "--method=byol",
            "--semantic_weight=3",
        ]
        errors = io.StringIO()
        with (
            flagsaver.flagsaver(),
            contextlib.redirect_stderr(errors),
            mock.patch("sys.argv", ["pretrain", *words]),
        ):
            flags.FLAGS(["pretrain", "--labels_per_class=1", *words[2:], words[0]])
            self.assertEqual(pretrain.main(["pretrain"]), 2)
        self.assertStartsWith(errors.getvalue(), "error: --semantic_weight must be 0.2 with --method=byol")

    def test_the_function_for_notebooks_refuses_too(self):
        with self.assertRaisesRegex(ValueError, "^--temperature must be 0.2 with --method=byol"):
            semppl.pretrain(self.create_tempdir(), preset="digits", method="byol", temperature=0.5)


if __name__ == "__main__":
    tf.test.main()
