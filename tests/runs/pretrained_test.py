"""Tests of semppl.runs.pretrained and semppl.runs.keras_weights: files that Keras wrote, and files that nobody should read."""

import hashlib
import os
import pathlib
import zipfile

import h5py
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.layers.encoders import applications
from semppl.layers.encoders.layer_graph import LayerGraph
from semppl.runs import keras_weights, pretrained
from semppl.tests import testing

_LAYERS = tf.keras.layers


def _network(*, extra=False, width=4):
    """A network with what the files of Keras differ in: named, unnamed and parallel layers, a model within, statistics."""
    images = _LAYERS.Input((16, 16, 3))
    features = _LAYERS.Normalization()(images)
    features = _LAYERS.Conv2D(width, 3, name="stem/conv")(features)
    features = _LAYERS.BatchNormalization(name="stem/bn")(features)
    one = _LAYERS.Conv2D(width, 3, padding="same", use_bias=False)(features)
    other = _LAYERS.Conv2D(width, 3, padding="same", use_bias=False)(features)
    features = _LAYERS.Add()([_LAYERS.BatchNormalization(scale=False)(one), other])
    if extra:
        features = _LAYERS.Conv2D(width, 3, padding="same", use_bias=False, name="deeper")(features)
    stage = tf.keras.Sequential([_LAYERS.Conv2D(5, 2, strides=2), _LAYERS.LayerNormalization(name="last")], name="down")
    features = stage(features)
    return tf.keras.Model(images, _LAYERS.GlobalAveragePooling2D()(features), name="network")


def _fill(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(tf.cast(rng.uniform(0.5, 1.5, variable.shape), variable.dtype))
    for layer in model._flatten_layers():
        layer.finalize_state()


def _with_top(model):
    classes = _LAYERS.Dense(7, name="predictions")(model.output)
    return tf.keras.Model(model.input, classes)


def _nested(model):
    return tf.keras.Sequential([_LAYERS.Input((16, 16, 3)), model, _LAYERS.Dense(7)])


def _images(count=2):
    return tf.constant(np.random.default_rng(3).uniform(0, 1, (count, 16, 16, 3)), tf.float32)


class ReadWeightsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.get_temp_dir())
        self.graph = LayerGraph(_network(), applications.converted)
        self.graph.run(_images())

    def _read(self, name):
        return pretrained.read_weights(
            self.folder / name, self.graph.places, network="keras:This", flag="initial_weights"
        )

    def _refused(self, name, message):
        with self.assertRaisesRegex(ValueError, f"^--initial_weights must {message}"):
            self._read(name)

    @parameterized.product(
        name=["a.h5", "a.weights.h5", "a.keras"], whole=[False, True], around=[lambda model: model, _with_top, _nested]
    )
    def test_every_file_of_keras_gives_its_network(self, name, whole, around):
        if name == "a.keras" and not whole:
            self.skipTest("such a file is of a whole model")
        model = _network()
        _fill(model)
        outer = around(model)
        (outer.save if whole and name != "a.weights.h5" else outer.save_weights)(str(self.folder / name))
        weights = self._read(name)
        weights.assign_to(self.graph.places)
        self.assertAllClose(self.graph.run(_images()), model(_images()), rtol=1e-5, atol=1e-5)
        self.assertEqual(weights.file, name)
        self.assertEqual(weights.sha256, hashlib.sha256((self.folder / name).read_bytes()).hexdigest())

    @parameterized.parameters("a.h5", "a.weights.h5")
    def test_a_model_that_was_frozen_is_read_in_order(self, name):
        model = _network()
        _fill(model)
        for layer in model.layers[:4]:
            layer.trainable = False
        _nested(model).save_weights(str(self.folder / name))
        self._read(name).assign_to(self.graph.places)
        self.assertAllClose(self.graph.run(_images()), model(_images()), rtol=1e-5, atol=1e-5)

    @parameterized.parameters("a.h5", "a.weights.h5", "a.keras")
    def test_weights_of_another_width_are_named_with_both_shapes(self, name):
        model = _network(width=6)
        (model.save if name == "a.keras" else model.save_weights)(str(self.folder / name))
        self._refused(
            name,
            r"hold the weights of keras:This: stem/conv/kernel must have the shape \(3, 3, 3, 4\), and has "
            rf"\(3, 3, 3, 6\)\. Received: .*{name}$",
        )

    @parameterized.parameters("a.h5", "a.weights.h5")
    def test_weights_of_a_deeper_network_are_refused(self, name):
        _network(extra=True).save_weights(str(self.folder / name))
        self._refused(name, "hold the weights of keras:This: .*(must not be there|must have the shape)")

    def test_a_value_that_is_not_finite_is_refused(self):
        model = _network()
        model.layers[2].kernel.assign(np.full((3, 3, 3, 4), np.nan))
        model.save_weights(str(self.folder / "a.h5"))
        self._refused("a.h5", "hold .*: stem/conv/kernel must be finite, and has 108 values that are not")

    def test_files_that_are_no_weights_are_refused(self):
        (self.folder / "text.h5").write_text("weights")
        (self.folder / "half.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        with zipfile.ZipFile(self.folder / "other.keras", "w") as archive:
            archive.writestr("config.json", "{}")
        for name in ("text.h5", "half.h5", "other.keras", "absent.h5"):
            self._refused(name, f"be a whole file of Keras weights. Received: .*{name} ")
        with h5py.File(self.folder / "empty.h5", "w") as file:
            file["numbers"] = np.zeros(3)
        self._refused("empty.h5", r"hold .*: normalization/mean must be there, with the shape \(3,\)")

    def test_nothing_but_numbers_within_the_file_is_read(self):
        model = _network()
        _fill(model)
        model.save_weights(str(self.folder / "a.h5"))
        with h5py.File(self.folder / "outside.h5", "w") as file:
            file["kernel"] = np.ones((3, 3, 3, 4), np.float32)
        (self.folder / "raw").write_bytes(np.ones(108, np.float32).tobytes())
        place = "stem/conv/stem/conv/kernel:0"

        def object_with_code(file):
            file[place] = np.array([b"cos\nsystem\n(S'true'\ntR."], object).astype("S")

        def link(file):
            file[place] = h5py.ExternalLink("outside.h5", "kernel")

        def raw(file):
            file.create_dataset(place, (3, 3, 3, 4), np.float32, external=[(str(self.folder / "raw"), 0, 432)])

        def virtual(file):
            layout = h5py.VirtualLayout((3, 3, 3, 4), np.float32)
            layout[:] = h5py.VirtualSource(str(self.folder / "outside.h5"), "kernel", (3, 3, 3, 4))
            file.create_virtual_dataset(place, layout)

        for replacement in (object_with_code, link, raw, virtual):
            with h5py.File(self.folder / "a.h5", "r+") as file:
                del file[place]
                replacement(file)
            self._refused("a.h5", r"hold .*: stem/conv/(kernel|bias) must (be there|have the shape)")

    def test_a_model_with_code_of_its_own_is_read_without_it(self):
        ran = self.folder / "ran"
        model = _network()
        _fill(model)
        code = _LAYERS.Lambda(lambda x, path=str(ran): [x, open(path, "w").close()][0])
        whole = tf.keras.Model(model.input, code(model.output))
        for name in ("a.h5", "a.keras"):
            whole.save(str(self.folder / name))
            ran.unlink()
            self._read(name)
            self.assertFalse(ran.exists())
            whole(_images())

    def test_long_lists_of_names_are_put_together(self):
        with h5py.File(self.folder / "a.h5", "w") as file:
            file["b/x"], file["a/x"], file["c/x"] = 1.0, 2.0, np.array([b"text"])
            file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"b"], ["a", "c"]
            for group in "abc":
                file[group].attrs["weight_names"] = [b"x"]
        arrays = keras_weights.read_arrays(self.folder / "a.h5", flag="source")
        self.assertEqual(list(arrays.items()), [("b/x", 1.0), ("a/x", 2.0)])


class RealFileTest(tf.test.TestCase):
    def test_a_mobile_net_that_was_trained_on_dogs_is_read(self):
        path = testing.shared_data("pretrained/mobilenet_v2_dogs.weights.h5")
        encoder = applications.KerasApplication("MobileNetV2")
        encoder(tf.zeros([1, 32, 32, 3]))
        weights = pretrained.read_weights(path, encoder.places, network="keras:MobileNetV2", flag="initial_weights")
        weights.assign_to(encoder.places)
        model = tf.keras.applications.MobileNetV2(
            include_top=False, weights=None, pooling="avg", input_shape=(32, 32, 3)
        )
        model.load_weights(os.fspath(path))
        images = tf.constant(np.random.default_rng(0).uniform(0, 1, (2, 32, 32, 3)), tf.float32)
        self.assertAllClose(
            encoder(images),
            model(tf.keras.applications.mobilenet_v2.preprocess_input(images * 255.0)),
            rtol=1e-5,
            atol=1e-5,
        )


if __name__ == "__main__":
    tf.test.main()
