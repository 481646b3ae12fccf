"""What every Keras layer of ours must do, in one suite: a new layer is one more line in CASES."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from typing import Any

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl import layers
from semppl.layers import embedding_queue, heads, key_queue, networks
from semppl.layers.blocks import closed_form_predictor, normalisation, small_maps
from semppl.layers.encoders import applications, convnet, resnet, resnet9, selective_kernel, whitening
from semppl.layers.predictions import adaptive_thresholds, distribution_alignment

_NETWORK = {
    "encoder": "convnet",
    "width": 0.125,
    "norm": "batch",
    "head_width": 12,
    "embedding_width": 6,
    "pixel_mean": (0.5, 0.25),
    "pixel_stddev": (0.25, 0.5),
    "widths": (16, 32),
    "picture_size": 8,
    "frozen_norms": False,
    "frozen_stages": 0,
    "train": "all",
}
_BLOCK = {"channels": 8, "strides": 2, "bottleneck": True, "project": True, "norm": "group"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, every argument of its own at another value than the default, and the shapes of one example."""

    layer: type[tf.keras.layers.Layer]
    arguments: dict[str, Any]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()

    def make(self, **options: Any) -> tf.keras.layers.Layer:
        return self.layer(**self.arguments, **options)


CASES = {
    "batch_norm": Case(
        normalisation.BatchNorm,
        {"momentum": 0.8, "epsilon": 1e-3, "center": True, "scale": False, "gamma_initializer": "zeros"},
        (4, 4, 3),
        (4, 4, 3),
    ),
    "fused_batch_norm": Case(
        normalisation.FusedBatchNorm,
        {"momentum": 0.8, "epsilon": 1e-3, "center": False, "scale": True, "gamma_initializer": "zeros"},
        (4, 4, 3),
        (4, 4, 3),
    ),
    "group_norm": Case(
        normalisation.GroupNorm,
        {"groups": 2, "epsilon": 1e-3, "center": False, "scale": True, "gamma_initializer": "random_normal"},
        (4, 4, 6),
        (4, 4, 6),
    ),
    "standardised_convolution": Case(
        normalisation.StandardisedConv2D, {"filters": 5, "kernel_size": (3, 3)}, (4, 4, 3), (2, 2, 5)
    ),
    "convolution": Case(
        small_maps.Convolution, {"filters": 5, "kernel_size": (3, 3), "padding": "same"}, (4, 4, 3), (4, 4, 5)
    ),
    "convnet": Case(convnet.ConvNet, {"widths": (8, 16), "norm": "group", "stem_stride": 2}, (8, 8, 3), (16,)),
    "resnet9": Case(resnet9.ResNet9, {"widths": (4, 8), "norm": "group"}, (8, 8, 3), (8,)),
    "patch_whitening": Case(whitening.PatchWhitening, {}, (4, 4, 3), (3, 3, 24)),
    "mlp": Case(heads.MLP, {"hidden_width": 12, "output_width": 6, "norm": "group"}, (8,), (6,)),
    "pixel_normalisation": Case(
        networks.PixelNormalisation, {"mean": (0.5, 0.25), "stddev": (0.25, 0.5)}, (8, 8, 2), (8, 8, 2)
    ),
    "feature_scaling": Case(networks.FeatureScaling, {}, (8,), (8,)),
    "selective_kernel": Case(selective_kernel.SelectiveKernel, {"ratio": 0.5, "norm": "group"}, (4, 4, 16), (4, 4, 8)),
    "post_activation_block": Case(
        resnet.PostActivationBlock, _BLOCK | {"selective": True, "layout": "simclr"}, (4, 4, 8), (2, 2, 32)
    ),
    "pre_activation_block": Case(
        resnet.PreActivationBlock, _BLOCK | {"selective": False, "layout": "official"}, (4, 4, 8), (2, 2, 32)
    ),
    "resnet": Case(
        resnet.ResNet,
        {
            "depth": 18,
            "version": 2,
            "width": 0.125,
            "norm": "batch",
            "stem": "cifar",
            "selective": False,
            "layout": "official",
        },
        (8, 8, 3),
        (64,),
    ),
    "keras_application": Case(applications.KerasApplication, {"network": "MobileNet"}, (32, 32, 3), (1024,)),
    "embedding_queue": Case(
        embedding_queue.EmbeddingQueue, {"num_queues": 2, "capacity": 5, "width": 3, "num_quotas": 0}
    ),
    "embedding_queue_quotas": Case(
        embedding_queue.EmbeddingQueue, {"num_queues": 2, "capacity": 5, "width": 3, "num_quotas": 2}
    ),
    "key_queue": Case(key_queue.KeyQueue, {"num_queues": 2, "capacity": 5, "width": 3}),
    "adaptive_thresholds": Case(adaptive_thresholds.AdaptiveThresholds, {"num_classes": 3, "decay": 0.9}),
    "distribution_alignment": Case(distribution_alignment.DistributionAlignment, {"num_classes": 3, "length": 4}),
    "closed_form_predictor": Case(
        closed_form_predictor.ClosedFormPredictor, {"kind": "visser", "width": 3, "ridge": 0.7, "decay": 0.8}
    ),
    "target_network": Case(networks.TargetNetwork, _NETWORK, (8, 8, 2), (6,)),
    "online_network": Case(networks.OnlineNetwork, _NETWORK, (8, 8, 2), (6,)),
}
_ALL = tuple((name, case) for name, case in CASES.items())
_CALLED = tuple((name, case) for name, case in CASES.items() if case.inputs)
_FITTED = ("feature_scaling", "patch_whitening", "resnet9")  # with variables that are fitted before training
_TRAINED = tuple((name, case) for name, case in _CALLED if name not in _FITTED)


def _inputs(case, batch=4, seed=0):
    values = np.random.default_rng(seed).uniform(0, 1, (batch, *case.inputs))
    return tf.constant(values, tf.keras.backend.floatx())


def _call(layer, inputs, training):
    return layer(inputs, training=training) if "training" in inspect.signature(layer.call).parameters else layer(inputs)


def _values(layer):
    return [variable.numpy() for variable in layer.variables]


def _fill(layer, seed=1):
    """Gives every variable a value that no initialiser would."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        variable.assign(tf.cast(rng.uniform(0.5, 1.5, variable.shape), variable.dtype))


class ConformanceTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_layer_is_in_this_suite(self):
        found = set()
        for module in pkgutil.walk_packages(layers.__path__, "semppl.layers."):
            members = vars(importlib.import_module(module.name)).values()
            found |= {
                member
                for member in members
                if inspect.isclass(member)
                and issubclass(member, tf.keras.layers.Layer)
                and member.__module__.startswith("semppl.")
                and not member.__name__.startswith("_")
            }
        self.assertEqual(found, {case.layer for case in CASES.values()})

    @parameterized.named_parameters(*_ALL)
    def test_every_argument_is_a_key_of_the_config_and_an_attribute(self, case):
        layer = case.make()
        own = {
            name
            for kind in case.layer.__mro__
            if kind.__module__.startswith("semppl.") and "__init__" in vars(kind)
            for name in inspect.signature(kind.__init__).parameters
        } - {"self", "kwargs", "shared_encoder"}  # a layer, of another network's config
        self.assertContainsSubset(own, case.arguments)
        config = layer.get_config()
        for name, value in case.arguments.items():
            self.assertEqual(config[name], value)
            if not isinstance(layer, tf.keras.Model):  # a network's `encoder` is the layer, not its name
                self.assertEqual(getattr(layer, name), value)

    @parameterized.named_parameters(*_ALL)
    def test_the_config_makes_an_equal_layer(self, case):
        layer = case.make(name="mine")
        copy = case.layer.from_config(layer.get_config())
        self.assertIsInstance(copy, case.layer)
        self.assertEqual(copy.get_config(), layer.get_config())
        self.assertEqual(copy.name, "mine")
        if not case.inputs:
            return
        outputs = _call(layer, _inputs(case), training=False)
        _call(copy, _inputs(case), training=False)
        for variable, other in zip(layer.variables, copy.variables, strict=True):
            self.assertEqual((variable.name, variable.shape, variable.dtype), (other.name, other.shape, other.dtype))
            other.assign(variable)
        self.assertAllClose(_call(copy, _inputs(case), training=False), outputs, rtol=1e-6, atol=1e-6)

    @parameterized.named_parameters(*_ALL)
    def test_a_layer_survives_json_under_the_package_of_the_project(self, case):
        layer = case.make()
        serialised = json.loads(json.dumps(tf.keras.saving.serialize_keras_object(layer)))
        self.assertEqual(serialised["registered_name"], f"semppl>{case.layer.__name__}")
        restored = tf.keras.saving.deserialize_keras_object(serialised)
        self.assertIs(type(restored), case.layer)
        self.assertEqual(restored.get_config(), layer.get_config())

    @parameterized.named_parameters(*_ALL)
    def test_unknown_arguments_are_refused(self, case):
        with self.assertRaises(TypeError):
            case.make(colour="green")

    @parameterized.named_parameters(*_CALLED)
    def test_shapes_and_type_are_static_for_batches_of_any_size(self, case):
        layer = case.make()
        for training in (False, True):
            compiled = tf.function(
                lambda inputs, training=training: _call(layer, inputs, training),
                input_signature=[tf.TensorSpec([None, *case.inputs])],
            ).get_concrete_function()
            self.assertEqual(compiled.output_shapes, [None, *case.outputs])
            self.assertEqual(compiled.output_dtypes, tf.float32)
        self.assertEqual(compiled(_inputs(case, 3)).shape, [3, *case.outputs])

    @parameterized.named_parameters(*_CALLED)
    def test_a_float64_policy_is_followed_throughout(self, case):
        self.addCleanup(tf.keras.backend.set_floatx, tf.keras.backend.floatx())
        self.addCleanup(tf.keras.mixed_precision.set_global_policy, tf.keras.mixed_precision.global_policy())
        tf.keras.backend.set_floatx("float64")
        tf.keras.mixed_precision.set_global_policy("float64")
        layer = case.make()
        outputs = _call(layer, _inputs(case), training=True)
        self.assertEqual(outputs.dtype, tf.float64)
        self.assertEqual({variable.dtype for variable in layer.variables} - {tf.float64}, set())

    @parameterized.named_parameters(*_CALLED)
    def test_inference_changes_nothing_and_judges_every_example_by_itself(self, case):
        layer = case.make()
        _call(layer, _inputs(case), training=False)
        _fill(layer)
        before = _values(layer)
        outputs = _call(layer, _inputs(case), training=False)
        self.assertAllClose(_call(layer, _inputs(case)[1:2], training=False), outputs[1:2], rtol=1e-4, atol=1e-5)
        for value, old in zip(_values(layer), before, strict=True):
            self.assertAllEqual(value, old)

    @parameterized.named_parameters(*_TRAINED)
    def test_training_moves_every_statistic_and_no_parameter(self, case):
        layer = case.make()
        _call(layer, _inputs(case), training=False)
        statistics, parameters = layer.non_trainable_variables, layer.trainable_variables
        before = [variable.numpy() for variable in statistics], [variable.numpy() for variable in parameters]
        _call(layer, _inputs(case), training=True)
        for variable, old in zip(statistics, before[0], strict=True):
            self.assertNotAllEqual(variable, old)
        for variable, old in zip(parameters, before[1], strict=True):
            self.assertAllEqual(variable, old)

    @parameterized.named_parameters(*_CALLED)
    def test_every_parameter_gets_a_finite_gradient(self, case):
        layer = case.make()
        _call(layer, _inputs(case), training=False)
        _fill(layer)
        weights = _inputs(Case(case.layer, {}, case.outputs), seed=5)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(weights * _call(layer, _inputs(case), training=True))
        for variable, gradient in zip(
            layer.trainable_variables, tape.gradient(total, layer.trainable_variables), strict=True
        ):
            self.assertIsNotNone(gradient, variable.name)
            self.assertAllInRange(gradient, -1e6, 1e6)

    @parameterized.named_parameters(*_CALLED)
    def test_a_layer_is_built_once(self, case):
        layer = case.make()
        layer.build([None, *case.inputs])
        variables = layer.variables
        _call(layer, _inputs(case), training=False)
        values = _values(layer)
        self.assertTrue(layer.built)
        _call(layer, _inputs(case, seed=2), training=False)
        built = {variable.ref() for variable in layer.variables}
        self.assertContainsSubset({variable.ref() for variable in variables}, built)
        self.assertLen(layer.variables, len(built))
        for value, old in zip(_values(layer), values, strict=True):
            self.assertAllEqual(value, old)

    @parameterized.named_parameters(*_CALLED)
    def test_the_same_seed_makes_the_same_layer_again(self, case):
        values = []
        for _ in range(2):
            tf.keras.utils.set_random_seed(4)
            layer = case.make()
            layer.build([None, *case.inputs])
            _call(layer, _inputs(case), training=False)
            values.append(_values(layer))
        for first, second in zip(*values, strict=True):
            self.assertAllEqual(first, second)

    @parameterized.named_parameters(*_CALLED)
    def test_variables_are_the_layers_own_and_go_by_its_name(self, case):
        first, second = case.make(name="first"), case.make(name="second")
        for layer in (first, second):
            _call(layer, _inputs(case), training=False)
        self.assertFalse({v.ref() for v in first.variables} & {v.ref() for v in second.variables})
        self.assertLen({variable.name for variable in first.variables}, len(first.variables))
        for variable in first.variables:
            self.assertStartsWith(variable.name, "first/")


if __name__ == "__main__":
    tf.test.main()
