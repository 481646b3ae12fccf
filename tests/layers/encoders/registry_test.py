"""Tests of semppl.layers.encoders.registry."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import registry


def _random(shape):
    return np.random.default_rng(0).normal(0.5, 1.0, shape).astype(np.float32)


class EncodersTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("convnet", 0.25, 32),
        ("convnet_stride2", 0.25, 32),
        ("resnet9", 0.25, 32),
        ("resnet18", 0.125, 64),
        ("resnet18_v2", 0.125, 64),
        ("resnet18_cifar", 0.25, 128),
        ("resnet34_v2_cifar", 0.125, 64),
        ("resnet50", 0.125, 256),
        ("sk_resnet50", 0.125, 256),
    )
    def test_encoders_map_images_to_features(self, name, width, features):
        for norm in ("batch", "group"):
            encoder = registry.build_encoder(name, width=width, norm=norm)
            self.assertEqual(encoder(_random((2, 32, 32, 3)), training=True).shape, (2, features))

    def test_the_largest_official_encoder_has_its_official_size(self):
        with tf.Graph().as_default():
            encoder = registry.build_encoder("resnet200", width=2)
            features = encoder(tf.compat.v1.placeholder(tf.float32, (None, 224, 224, 3)))
            size = sum(variable.shape.num_elements() for variable in encoder.trainable_variables)
        self.assertEqual(features.shape.as_list(), [None, 4096])
        self.assertEqual(size, 250_128_512)

    @parameterized.product(depth=(18, 34, 50, 101, 152, 200), version=(1, 2), stem=("imagenet", "cifar"))
    def test_names_say_depth_version_and_stem(self, depth, version, stem):
        name = f"resnet{depth}{'_v2' if version == 2 else ''}{'_cifar' if stem == 'cifar' else ''}"
        encoder = registry.build_encoder(name, width=0.125, norm="group")
        expected = (depth, version, stem, False, 0.125, "group")
        actual = (encoder.depth, encoder.version, encoder.stem, encoder.selective, encoder.width, encoder.norm)
        self.assertEqual(actual, expected)

    @parameterized.product(depth=(50, 101, 152, 200), stem=("imagenet", "cifar"))
    def test_names_say_selective_kernels(self, depth, stem):
        encoder = registry.build_encoder(f"sk_resnet{depth}{'_cifar' if stem == 'cifar' else ''}", width=0.125)
        self.assertEqual((encoder.depth, encoder.stem, encoder.selective), (depth, stem, True))

    @parameterized.product(depth=(18, 34, 50, 101, 152, 200), stem=("imagenet", "cifar"), selective=(False, True))
    def test_names_say_the_layout_of_simclr(self, depth, stem, selective):
        name = f"{'sk_' if selective else ''}resnet{depth}{'_cifar' if stem == 'cifar' else ''}_simclr"
        if selective and depth < 50:
            self.assertNotIn(name, registry.ENCODERS)
            return
        encoder = registry.build_encoder(name, width=0.125)
        actual = (encoder.depth, encoder.stem, encoder.selective, encoder.layout)
        self.assertEqual(actual, (depth, stem, selective, "simclr"))

    @parameterized.parameters(50, 101, 152)
    def test_names_say_the_layout_of_keras(self, depth):
        encoder = registry.build_encoder(f"resnet{depth}_keras", width=0.125)
        self.assertEqual((encoder.depth, encoder.stem, encoder.layout), (depth, "imagenet", "keras"))

    def test_there_are_no_other_names(self):
        official, simclr, keras = 6 * 2 * 2 + 4 * 2, 6 * 2 + 4 * 2, 3
        self.assertLen(registry.ENCODERS, 3 + official + simclr + keras)

    @parameterized.parameters((1, (32, 64, 128)), (0.5, (16, 32, 64)), (0.1, (8, 8, 16)), (2, (64, 128, 256)))
    def test_width_scales_the_small_encoder_to_multiples_of_8(self, width, widths):
        self.assertEqual(registry.build_encoder("convnet", width=width).widths, widths)

    @parameterized.parameters("convnet", "convnet_stride2", "resnet9")
    def test_widths_are_those_of_the_stages_before_the_multiplier(self, name):
        self.assertEqual(registry.build_encoder(name, width=0.5, widths=(32, 64)).widths, (16, 32))

    def test_the_nine_layers_have_widths_of_their_own(self):
        self.assertEqual(registry.build_encoder("resnet9").widths, (64, 128, 128))

    @parameterized.parameters(("convnet", 1), ("convnet_stride2", 2))
    def test_the_small_encoder_has_two_stems(self, name, stride):
        self.assertEqual(registry.build_encoder(name).stem_stride, stride)

    def test_variables_start_with_the_name_of_the_layer(self):
        for options, start in (({}, "encoder/"), ({"layer_name": "mine"}, "mine/")):
            encoder = registry.build_encoder("convnet", **options)
            encoder(_random((2, 8, 8, 1)))
            self.assertEqual({variable.name.split("/")[0] + "/" for variable in encoder.variables}, {start})

    def test_networks_of_keras_are_encoders_with_a_prefix(self):
        encoder = registry.build_encoder("keras:MobileNet", norm="group")
        self.assertEqual((encoder.network, encoder.name, encoder.prepares_pixels), ("MobileNet", "encoder", True))
        self.assertEqual(encoder(_random((2, 32, 32, 3))).shape, (2, 1024))

    @parameterized.parameters(
        ("keras:MobileNetV4", "keras:MobileNetV2"),
        ("mobilenetv2", "keras:MobileNetV2"),
        ("ConvNextTiny", "keras:ConvNeXtTiny"),
        ("keras:resnet50", "keras:ResNet50"),
        ("resnet51", "resnet50"),
    )
    def test_names_alike_are_suggested(self, name, suggestion):
        with self.assertRaisesRegex(
            ValueError, rf"^--encoder must be .* Received: {name}; did you mean .*{suggestion}"
        ):
            registry.check_encoder(name, called="--encoder")

    @parameterized.parameters(
        ({"width": 0.5}, "--width must be 1 with --encoder=keras:Xception, .*Received: 0.5"),
        ({"pixel_mean": (0.5,)}, r"--pixel_mean must have 3 values with .*Received: \(0.5,\)"),
        ({"sizes": {"large_size": 96, "small_size": 70}}, "--small_size must be 71 or more with .*Received: 70"),
        ({"sizes": {"large_size": 70}}, "--large_size must be 71 or more with --encoder=keras:Xception. Received: 70"),
    )
    def test_pictures_that_do_not_fit_a_network_of_keras_are_refused(self, changes, message):
        fitting = {"width": 1.0, "pixel_mean": (0.5, 0.5, 0.5), "sizes": {"large_size": 71}}
        registry.check_pictures("keras:Xception", **fitting)
        registry.check_pictures("convnet", **(fitting | changes))
        with self.assertRaisesRegex(ValueError, f"^{message}$"):
            registry.check_pictures("keras:Xception", **(fitting | changes))

    @parameterized.parameters(((), 9), ((8, 8), 5))
    def test_pictures_that_pooling_leaves_nothing_of_are_refused(self, widths, smallest):
        options = {"width": 1.0, "pixel_mean": (0.5,), "widths": widths}
        registry.check_pictures("resnet9", **options, sizes={"large_size": smallest})
        message = f"^--small_size must be {smallest} or more with --encoder=resnet9. Received: {smallest - 1}$"
        with self.assertRaisesRegex(ValueError, message):
            registry.check_pictures("resnet9", **options, sizes={"large_size": 32, "small_size": smallest - 1})

    def test_widths_are_refused_where_the_stages_are_fixed(self):
        options = {"width": 1.0, "pixel_mean": (0.5,), "sizes": {"large_size": 32}, "widths": (8,)}
        registry.check_pictures("convnet", **options)
        with self.assertRaisesRegex(ValueError, r"^--widths must be empty with --encoder=resnet18, .* \(8,\)$"):
            registry.check_pictures("resnet18", **options)
        with self.assertRaisesRegex(ValueError, r"^`widths` must be empty for resnet18. Received: widths=\(8,\)$"):
            registry.build_encoder("resnet18", widths=(8,))

    @parameterized.parameters("convnet", "keras:ResNet50")
    def test_gradient_checkpointing_needs_a_resnet_of_this_project(self, name):
        registry.check_checkpointing("resnet50")
        with self.assertRaisesRegex(ValueError, f"^--gradient_checkpointing must be false .* Received: {name}$"):
            registry.check_checkpointing(name)

    def test_wrong_arguments_are_refused(self):
        with self.assertRaisesRegex(
            ValueError,
            r"^`name` must be convnet, .* \(docs/reference/encoders.md lists all \d+\)\. Received: nonesuch$",
        ):
            registry.build_encoder("nonesuch")
        with self.assertRaisesRegex(ValueError, "must be positive. Received: width=-1"):
            registry.build_encoder("convnet", width=-1)
        with self.assertRaisesRegex(ValueError, "`width` must be 1 for keras:MobileNet. Received: width=2"):
            registry.build_encoder("keras:MobileNet", width=2)
        with self.assertRaisesRegex(ValueError, "Received: kind='layer'"):
            registry.build_encoder("resnet18", norm="layer")


if __name__ == "__main__":
    tf.test.main()
