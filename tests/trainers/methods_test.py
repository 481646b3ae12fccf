"""What every method must do: the same step eagerly, as a graph, by XLA, over replicas, in micro-batches and in bfloat16."""

import inspect
import math
import pathlib
import textwrap

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.family import FamilySettings
from semppl.configs.hyperparameters import Hyperparameters
from semppl.layers.blocks.normalisation import BatchNorm, GroupNorm, StandardisedConv2D
from semppl.losses.nested import prefix
from semppl.runs.checkpoints import RunCheckpoints
from semppl.tests import testing, tiny
from semppl.trainers import pretrain
from semppl.trainers.methods import METHODS, find_method

_VARIANTS = {
    "byol_semantic": {"method": "byol", "byol_semantic_weight": 0.5},
    "byol_stiefel": {"method": "byol", "byol_predictor": "stiefel"},
    "byol_nested": {"method": "byol", "nested_dims": (2, 5)},
    "byol_visser": {"method": "byol", "byol_predictor": "visser"},
    "semppl_nested": {"method": "semppl", "nested_dims": (2, 5)},
    "simclr_semantic": {"method": "simclr", "simclr_semantic_weight": 0.5},
}
"""Settings of methods whose steps differ from those of the defaults, by a name of their own."""
_CHANGES = {
    "fixmatch": {
        "fixmatch_adaptive_thresholds": True,
        "fixmatch_threshold_decay": 0.5,
        "fixmatch_fairness_weight": 0.1,
    },
    "moco": {"queue_size": 40},  # wraps in the third step
    "nnclr": {"queue_size": 40},
    "simmatch": {"simmatch_threshold": 0.3, "simmatch_delay_steps": 1, "simmatch_alignment_batches": 2},
    "supervised": {"labelled_batch_size": 16, "queue_size": 16},
    "swav": {"swav_prototypes": 5, "swav_frozen_steps": 1, "swav_epsilon": 0.5},
}
# SwAV's prototypes are normalised after the update, and its assignments, through which no gradient flows, move along, as do
# FreeMatch's averages and SimMatch's soft targets.
_SLOPE_CHANGES = {
    "fixmatch": {
        "fixmatch_adaptive_thresholds": False,
        "fixmatch_threshold": 0.35,
        "fixmatch_threshold_decay": 0.999,
        "fixmatch_fairness_weight": 0.001,
    },
    "paws": {"paws_sharpening": 1e-5},  # targets of 0 and 1
    "simmatch": {"simmatch_threshold": 1.0, "simmatch_instance_weight": 0.0},
    "swav": {"swav_frozen_steps": 9, "swav_epsilon": 1e9},
    # No gradient flows through a closed form, which moves along.
    "byol_stiefel": {"byol_predictor_decay": 1 - 1e-9},
    "byol_visser": {"byol_predictor_decay": 1 - 1e-9},
    "simclr_semantic": {"semantic_positives": 0},  # the queue's entries of this batch move along
}
_SIAMESE = sorted(set(METHODS) - {"supervised"})
_each_method = parameterized.named_parameters((f"_{name}", name) for name in sorted(METHODS))
_each_siamese = parameterized.named_parameters((f"_{name}", name) for name in _SIAMESE)
_each_nesting = parameterized.named_parameters(
    (f"_{name}", name) for name in sorted(METHODS) if "nested_dims" in find_method(name).settings
)
_each_variant = parameterized.named_parameters((f"_{name}", name) for name in sorted(_VARIANTS))
_FEW = ("byol", "simclr")  # with and without target network and predictor; the other methods' suite takes minutes
_few_methods = parameterized.named_parameters((f"_{name}", name) for name in _FEW)
_other_methods = parameterized.named_parameters((f"_{name}", name) for name in _SIAMESE if name not in _FEW)


def _settings(method, **changes):
    return tiny.settings(**({"method": method} | _VARIANTS.get(method, {}) | _CHANGES.get(method, {}) | changes))


def _model(settings, optimiser=None):
    model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
    if optimiser is not None:
        optimiser.build(model.trained_variables())
        model.compile(optimizer=optimiser)
    return model


def _host_batch(number, settings):
    batch = tiny.batch(number, settings)
    if settings["method"] == "supervised":
        batch["labels"] = batch["truth"]
    return batch


def _batch(number, settings):
    return {name: tf.constant(value) for name, value in _host_batch(number, settings).items()}


class MethodsTest(tf.test.TestCase, parameterized.TestCase):
    @_each_method
    def test_the_step_is_an_algorithm_of_at_most_20_lines(self, name):
        source = inspect.getsource(find_method(name).train_step)
        body = textwrap.dedent(source).split('"""')[-1].strip().splitlines()
        self.assertLessEqual(len(body), 20)

    @parameterized.parameters("simclr", "byol", "supervised")  # without and with predictor, and without projector
    def test_the_parts_that_are_trained_are_those_that_a_step_changes(self, name):
        settings = _settings(name, small_views=0)
        model = _model(settings, tf.keras.optimizers.SGD(1.0))
        parts = {part: getattr(model.online, part) for part in ("encoder", "projector", "predictor")}
        parts |= {"classifier": model.classifier} if hasattr(model, "classifier") else {}
        before = {part: [v.numpy() for v in layer.trainable_variables] for part, layer in parts.items()}
        model.train_step(_batch(0, settings))
        changed = {
            part
            for part, values in before.items()
            if any((old != v.numpy()).any() for old, v in zip(values, parts[part].trainable_variables, strict=True))
        }
        self.assertEqual(set(model.trained_parts), changed)

    @_each_siamese
    def test_the_graph_takes_the_steps_taken_eagerly(self, name):
        self._assert_compiled_steps(name, jit_compile=False)

    @_few_methods
    def test_xla_takes_the_steps_taken_eagerly(self, name):
        self._assert_compiled_steps(name, jit_compile=True)

    @_other_methods
    @testing.slow
    def test_xla_takes_the_steps_taken_eagerly_for_the_others(self, name):
        self._assert_compiled_steps(name, jit_compile=True)

    def _assert_compiled_steps(self, name, *, jit_compile):
        settings = _settings(name, negatives=3, small_views=0)
        eager, model = (_model(settings, tf.keras.optimizers.SGD(0.05)) for _ in range(2))
        step = tf.function(model.train_step, jit_compile=jit_compile, autograph=False)
        for number in range(2):
            batch = _batch(number, settings)
            expected, report = eager.train_step(batch), step(batch)
            self.assertCountEqual(report, expected)
            for key, value in expected.items():
                # Norms of gradients of length 14 differ by 1e-4 of that in the second step, in 32 bits.
                bound = 5e-4 if key == "gradient_norm" else 5e-5
                self.assertAllClose(report[key], value, rtol=bound, atol=1e-5, msg=f"{key} of step {number}")

    @_few_methods
    def test_two_replicas_take_the_steps_of_one(self, name):
        self._assert_replicas_take_the_steps_of_one(name)

    @_other_methods
    @testing.slow
    def test_two_replicas_take_the_steps_of_one_for_the_others(self, name):
        self._assert_replicas_take_the_steps_of_one(name)

    def _assert_replicas_take_the_steps_of_one(self, name):
        testing.use_float64(self)
        settings = _settings(name, small_views=0, optimiser="adamw", learning_rate=0.05)

        def history(strategy):
            with strategy.scope():
                model = _model(settings)
            step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)), autograph=False)
            for number in range(3):
                batch = tiny.distribute(_host_batch(number, settings), strategy, settings["labelled_batch_size"])
                report = step(batch)
                yield (
                    {
                        key: [v.numpy() for v in strategy.experimental_local_results(value)]
                        for key, value in report.items()
                    },
                    [(v.name, [c.numpy() for c in strategy.experimental_local_results(v)]) for v in model.variables],
                )

        several, one = history(testing.replicas(2)), history(testing.replicas(1))
        for (report, variables), (expected_report, expected_variables) in zip(several, one, strict=True):
            for key, copies in report.items():
                bound = 1e-6 if copies[0].dtype == np.float32 else 1e-9
                for copy in copies:
                    self.assertAllClose(copy, expected_report[key][0], rtol=bound, atol=bound, msg=key)
            for (key, copies), (_, (expected,)) in zip(variables, expected_variables, strict=True):
                for copy in copies:
                    self.assertAllClose(copy, expected, rtol=1e-9, atol=1e-9, msg=key)

    @_each_siamese
    def test_the_update_is_the_slope_of_the_loss(self, name):
        self._assert_the_update_is_the_slope(name)

    def _assert_the_update_is_the_slope(self, name):
        # Along the gradient the loss rises by the square of its norm; without SemPPL's invariance, whose teachers move along.
        testing.use_float64(self)
        settings = _settings(name, invariance_weight=0.0, small_views=0, **_SLOPE_CHANGES.get(name, {}))
        rate = 0.05
        model, batch = _model(settings, tf.keras.optimizers.SGD(rate)), _batch(0, settings)
        model.train_step(_batch(1, settings))
        every = [*model.variables, *model.optimizer.variables]
        start, trained = [v.numpy() for v in every], model.trained_variables()
        before = [v.numpy() for v in trained]
        report = model.train_step(batch)
        gradients = [(old - v.numpy()) / rate for old, v in zip(before, trained, strict=True)]
        square = sum(np.sum(gradient**2) for gradient in gradients)
        self.assertAllClose(report["gradient_norm"], math.sqrt(square), rtol=1e-9)
        losses, length = [], 1e-6 / max(1, math.sqrt(square))
        for delta in (length, -length):
            for variable, value in zip(every, start, strict=True):
                variable.assign(value)
            for variable, gradient in zip(trained, gradients, strict=True):
                variable.assign_add(delta * gradient)
            losses.append(float(model.train_step(batch)["loss"]))
        self.assertGreater(square, 1e-6)
        self.assertAllClose((losses[0] - losses[1]) / (2 * length), square, rtol=1e-5)

    @_few_methods
    def test_with_group_norm_micro_batches_change_nothing(self, name):
        self._assert_micro_batches_change_nothing(name)

    @_other_methods
    @testing.slow
    def test_with_group_norm_micro_batches_change_nothing_for_the_others(self, name):
        self._assert_micro_batches_change_nothing(name)

    def _assert_micro_batches_change_nothing(self, name):
        def step(parts):
            settings = _settings(name, norm="group", small_views=0, accumulate_steps=parts)
            model = _model(settings, tf.keras.optimizers.SGD(0.05))
            report = tf.function(model.train_step, autograph=False)(_batch(0, settings))
            return report, [v.numpy() for v in model.variables]

        (report, variables), (expected_report, expected) = step(4), step(1)
        for key, value in expected_report.items():
            self.assertAllClose(report[key], value, rtol=1e-5, atol=1e-5, msg=key)
        for value, other in zip(variables, expected, strict=True):
            self.assertAllClose(value, other, rtol=1e-5, atol=1e-5)

    @_each_siamese
    def test_a_step_in_bfloat16_is_finite_and_near(self, name):
        self._assert_a_step_in_bfloat16_is_near(name)

    def _assert_a_step_in_bfloat16_is_near(self, name):
        losses = [
            float(_model(settings, tf.keras.optimizers.SGD(0.05)).train_step(_batch(0, settings))["loss"])
            for settings in (
                _settings(name, small_views=0, precision=precision) for precision in ("float32", "bfloat16")
            )
        ]
        self.assertAllClose(losses[1], losses[0], rtol=0.1, atol=0.1)

    @_each_siamese
    def test_without_labels_in_the_batch_nothing_is_nan(self, name):
        self._assert_nothing_is_nan_without_labels(name)

    def _assert_nothing_is_nan_without_labels(self, name):
        settings = _settings(name, small_views=0)
        batch = _batch(0, settings)
        batch["labels"] = tf.fill([16], -1)
        for value in _model(settings, tf.keras.optimizers.SGD(0.05)).train_step(batch).values():
            self.assertAllEqual(tf.math.is_finite(value), True)

    @_each_siamese
    def test_a_step_depends_on_labels_where_the_settings_say_that_labels_are_needed(self, name):
        settings = _settings(name, small_views=0)
        batch = _batch(0, settings)
        batch["labels"] = batch["truth"]
        hidden = batch | {"labels": tf.fill([16], -1)}
        losses = [float(_model(settings).train_step(each)["loss"]) for each in (batch, hidden)]
        self.assertEqual(losses[0] != losses[1], Hyperparameters(**settings).needs_labels)

    @_each_method
    def test_a_restored_model_takes_the_next_step_bit_for_bit(self, name):
        self._assert_a_restored_model_goes_on(name)

    def _assert_a_restored_model_goes_on(self, name):
        settings = _settings(name, small_views=0)
        model, folder = _model(settings), pathlib.Path(self.create_tempdir())
        for number in range(2):
            model.train_step(_batch(number, settings))
        RunCheckpoints(model, folder).save()
        restored = _model(settings)
        for variable in restored.variables:
            variable.assign(tf.zeros_like(variable))
        self.assertEqual(RunCheckpoints(restored, folder).restore(), 2)
        expected, report = (each.train_step(_batch(2, settings)) for each in (model, restored))
        self.assertAllEqual([report[key] for key in expected], list(expected.values()))
        for variable, other in zip(
            [*restored.variables, *restored.optimizer.variables],
            [*model.variables, *model.optimizer.variables],
            strict=True,
        ):
            self.assertAllEqual(variable, other, msg=variable.name)

    @_each_nesting
    def test_nested_dims_add_the_loss_of_the_leading_dimensions(self, name):
        def loss(model):
            return float(model.train_step(_batch(1, model_settings))["loss"])

        model_settings = _settings(name, small_views=0)
        whole, both, narrow = (
            _model(_settings(name, small_views=0, nested_dims=dims), tf.keras.optimizers.SGD(0.05))
            for dims in ((), (3,), ())
        )
        narrow.over_prefixes = lambda loss, *embeddings: loss(*(prefix(rows, 3) for rows in embeddings))
        parts = [loss(whole), loss(narrow)]
        self.assertNotAlmostEqual(*parts, delta=1e-3)
        self.assertAllClose(loss(both), sum(parts), rtol=1e-5)

    @testing.slow
    def test_two_replicas_compare_leading_dimensions_as_one(self):
        self._assert_replicas_take_the_steps_of_one("byol_nested")

    @_each_variant
    @testing.slow
    def test_a_variant_passes_the_suite(self, name):
        for jit_compile in (False, True):
            self._assert_compiled_steps(name, jit_compile=jit_compile)
        self._assert_micro_batches_change_nothing(name)
        self._assert_a_step_in_bfloat16_is_near(name)
        self._assert_nothing_is_nan_without_labels(name)
        self._assert_a_restored_model_goes_on(name)
        self._assert_replicas_take_the_steps_of_one(name)
        self._assert_the_update_is_the_slope(name)

    def test_with_group_norm_no_image_depends_on_others_and_all_convolutions_are_standardised(self):
        testing.use_float64(self)  # maps of one pixel magnify the rounding of 32 bits
        settings = _settings("byol", norm="group", encoder="resnet18", width=0.125, small_views=0)
        model, images = _model(settings), np.random.default_rng(0).uniform(size=(4, 8, 8, 1))
        for network in (model.online, model.target):
            parts = list(network._flatten_layers())
            self.assertEmpty([part for part in parts if isinstance(part, BatchNorm)])
            self.assertNotEmpty([part for part in parts if isinstance(part, GroupNorm)])
            kinds = {type(part) for part in parts if isinstance(part, tf.keras.layers.Conv2D)}
            self.assertEqual(kinds, {StandardisedConv2D})
            together = network(images, training=True)
            alone = tf.concat([network(images[row : row + 1], training=True) for row in range(4)], axis=0)
            self.assertAllClose(together, alone, rtol=1e-9, atol=1e-9)

    def test_an_unknown_method_is_refused_with_all_names(self):
        with self.assertRaisesRegex(
            ValueError,
            "^--method must be one of barlow_twins, byol, .*semppl, simclr, .*swav. Received: byoll; did you mean byol\\?$",
        ):
            pretrain.check_names(Hyperparameters(**_settings("byoll")))

    def test_a_setting_of_one_method_is_refused_for_another(self):
        with self.assertRaisesRegex(
            ValueError,
            "^--simclr_class_prior must be 0.0 with --method=byol, which does not use the setting. Received: 0.1$",
        ):
            Hyperparameters(**_settings("byol", simclr_class_prior=0.1))

    @parameterized.parameters("moco", "nnclr")
    def test_a_queue_smaller_than_a_batch_is_refused(self, name):
        allowed = f"at least batch_size = 16 with --method={name}"
        with self.assertRaisesRegex(ValueError, f"^--queue_size must be {allowed}. Received: 15$"):
            _model(_settings(name, queue_size=15))

    def test_settings_of_closed_forms_are_refused_for_a_trained_predictor(self):
        for flag, default in (("byol_predictor_ridge", 0.6), ("byol_predictor_decay", 0.9)):
            message = f"^--{flag} must be {default} with --byol_predictor=mlp. Received: 0.3$"
            with self.assertRaisesRegex(ValueError, message):
                Hyperparameters(**_settings("byol", **{flag: 0.3}))
        with self.assertRaisesRegex(ValueError, "^--large_views must be 2 or more with --byol_predictor=stiefel"):
            _model(_settings("byol_stiefel", large_views=1))

    @parameterized.parameters(
        ("byol", "predictor", "linear", "one of mlp, direct_copy, .*"),
        ("byol", "semantic_weight", -0.1, "0 or more"),
        ("byol_visser", "predictor_ridge", -0.1, "0 or more"),
        ("byol_visser", "predictor_decay", 1.0, r"in \[0, 1\)"),
        ("barlow_twins", "redundancy_weight", -0.1, "0 or more"),
        ("fixmatch", "threshold", 1.1, r"in 0\.\.1"),
        ("fixmatch", "threshold_decay", 1.0, r"in \[0, 1\)"),
        ("fixmatch", "consistency_weight", -1.0, "0 or more"),
        ("fixmatch", "fairness_weight", -1.0, "0 or more"),
        ("simclr", "class_prior", 1.0, r"in \[0, 1\)"),
        ("paws", "sharpening", 0.0, "positive"),
        ("paws", "label_smoothing", 1.0, r"in \[0, 1\)"),
        ("paws", "me_max_weight", -1.0, "0 or more"),
        ("simmatch", "threshold", -0.1, r"in 0\.\.1"),
        ("simmatch", "smoothing", 1.1, r"in 0\.\.1"),
        ("simmatch", "consistency_weight", -1.0, "0 or more"),
        ("simmatch", "instance_weight", -1.0, "0 or more"),
        ("simmatch", "alignment_batches", 0, "1 or more"),
        ("simmatch", "delay_steps", -1, "0 or more"),
        ("swav", "epsilon", 0.0, "positive"),
        ("swav", "frozen_steps", -1, "0 or more"),
        ("swav", "prototypes", 1, "2 or more"),
    )
    def test_a_value_that_a_method_cannot_use_is_refused(self, name, setting, value, allowed):
        flag = f"{_settings(name)['method']}_{setting}"
        with self.assertRaisesRegex(ValueError, f"^--{flag} must be {allowed}. Received: {value}$"):
            Hyperparameters(**_settings(name, **{flag: value}))

    def test_the_defaults_are_the_published_constants(self):
        settings = FamilySettings()
        self.assertEqual(settings.barlow_twins_redundancy_weight, 0.0051)
        self.assertEqual(settings.simclr_class_prior, 0)
        self.assertEqual((settings.fixmatch_threshold, settings.fixmatch_consistency_weight), (0.95, 1))
        self.assertEqual((settings.paws_sharpening, settings.paws_label_smoothing), (0.25, 0.1))
        self.assertEqual(settings.paws_me_max_weight, 1)
        self.assertEqual((settings.simmatch_threshold, settings.simmatch_smoothing), (0.95, 0.9))
        self.assertEqual((settings.simmatch_consistency_weight, settings.simmatch_instance_weight), (1, 1))
        self.assertEqual((settings.simmatch_alignment_batches, settings.simmatch_delay_steps), (32, 1024))
        self.assertFalse(settings.fixmatch_adaptive_thresholds)
        self.assertEqual((settings.fixmatch_threshold_decay, settings.fixmatch_fairness_weight), (0.999, 0.001))
        self.assertEqual(
            (settings.swav_prototypes, settings.swav_epsilon, settings.swav_frozen_steps), (3000, 0.05, 313)
        )


if __name__ == "__main__":
    tf.test.main()
