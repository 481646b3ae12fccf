"""Tests of semppl.layers.encoders.attention_models, and of what is said without its package."""

import pathlib
import tempfile
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import attention_models, freezing, registry
from semppl.runs import imagenet, pretrained
from semppl.tests import testing

_NEEDED = 'the extra "encoders" is not installed'


def _images(size, count=2):
    return tf.constant(np.random.default_rng(0).uniform(0, 1, (count, size, size, 3)), tf.float32)


class WithoutThePackageTest(tf.test.TestCase):
    def test_the_extra_is_named(self):
        message = (
            r"^--encoder must be .* the extra \"encoders\": pip install 'semppl\[encoders\]'. Received: kecam:ViT$"
        )
        with mock.patch.object(attention_models, "is_installed", return_value=False):
            with self.assertRaisesRegex(ValueError, message):
                registry.check_encoder("kecam:ViT", called="--encoder")
            registry.check_encoder("keras:MobileNet")  # which needs no extra


@testing.slow
@unittest.skipUnless(attention_models.is_installed(), _NEEDED)
class AttentionModelTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("DINOv2_ViT_Small14", 56, 768, 21_536_640),
        ("EVA02TinyPatch14", 56, 192, 5_456_064),
        ("ConvNeXtTiny", 64, 768, 27_818_592),
        ("EfficientNetV2B0", 64, 1280, 5_919_312),
    )
    def test_features_and_files_are_those_of_the_package(self, name, size, width, parameters):
        encoder, images = registry.build_encoder(f"kecam:{name}", size=size), _images(size)
        make = attention_models.constructors()[name]
        model = make(input_shape=(size, size, 3), num_classes=10, pretrained=None)
        body = make(input_shape=(size, size, 3), num_classes=0, pretrained=None)
        path = pathlib.Path(tempfile.mkdtemp(dir=self.get_temp_dir())) / "weights.h5"
        model.save_weights(str(path))
        self.assertEqual(encoder(images).shape, [2, width])
        self.assertEqual(encoder.count_params(), parameters)
        weights = pretrained.read_weights(path, encoder.places, network=name, flag="initial_weights")
        weights.assign_to(encoder.places)
        scaled = (images * 255.0 - model.preprocess_input.mean) / model.preprocess_input.std
        body.load_weights(str(path), by_name=True)
        expected = body(scaled)
        expected = tf.reduce_mean(expected, [1, 2]) if expected.shape.rank == 4 else expected
        self.assertAllClose(encoder(images), expected, rtol=1e-4, atol=1e-5)
        self.assertAllClose(encoder(images, training=True).shape, [2, width])

    def test_a_network_of_tokens_has_no_stages_and_one_of_maps_has(self):
        self.assertEqual(freezing.stages_of(registry.build_encoder("kecam:DINOv2_ViT_Small14", size=56)), [])
        self.assertLen(freezing.stages_of(registry.build_encoder("kecam:ConvNeXtTiny", size=64)), 4)

    def test_names_alike_are_suggested_and_sizes_compared(self):
        with self.assertRaisesRegex(ValueError, r"did you mean .*kecam:DINOv2_ViT_Small14"):
            registry.check_encoder("kecam:DINOv2_ViT_Small16")
        fitting = {"width": 1.0, "pixel_mean": (0.5,) * 3}
        with self.assertRaisesRegex(ValueError, r"^--small_size must be 56, as all views, .* Received: 42$"):
            registry.check_pictures("kecam:DINOv2_ViT_Small14", **fitting, sizes={"large_size": 56, "small_size": 42})

    def test_a_download_that_fails_names_the_file(self):
        message = r"^--initial_weights must be a file, or imagenet where https://.*/dinov2_vit_small14_.*h5 can .*\(no such host\)$"
        failing = mock.patch.object(imagenet, "_watched", side_effect=OSError("no such host"))
        with failing, self.assertRaisesRegex(ValueError, message):
            imagenet.imagenet_file("kecam:DINOv2_ViT_Small14", size=56, flag="initial_weights")

    def test_bfloat16_gives_features_in_float32(self):
        self.addCleanup(tf.keras.mixed_precision.set_global_policy, "float32")
        expected = registry.build_encoder("kecam:DINOv2_ViT_Small14", size=56)
        expected(_images(56))
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        encoder = registry.build_encoder("kecam:DINOv2_ViT_Small14", size=56)
        encoder(_images(56))
        for variable, value in zip(encoder.variables, expected.variables, strict=True):
            variable.assign(value)
        self.assertEqual(encoder(_images(56)).dtype, tf.float32)
        self.assertAllClose(encoder(_images(56)), expected(_images(56)), rtol=0.1, atol=0.1)


if __name__ == "__main__":
    tf.test.main()
