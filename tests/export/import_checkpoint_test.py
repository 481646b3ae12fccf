"""Tests of semppl.export.import_checkpoint and of the readers of foreign checkpoints."""

import json
import os
import pathlib
import pickle
import subprocess
import sys
from unittest import mock

import h5py
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data import sources
from semppl.evaluation import evaluate
from semppl.export import export_model, import_checkpoint
from semppl.export.foreign import haiku, keras_applications, simclr
from semppl.layers.encoders import resnet
from semppl.runs import checkpoints, files
from semppl.runs.folder import read_trained_parts
from semppl.tests import testing
from semppl.tests.export.foreign import foreign_networks

_RAW = {"recipe": "identity", "large_size": 64, "pixel_mean": (0.0,) * 3, "pixel_stddev": (1.0,) * 3}
_SMALL = {"recipe": "identity", "large_size": 32, "head_width": 16, "embedding_width": 8}
_TINY = {"channels": 8, "module": "res_net18"}
_HEADS = foreign_networks.head_shapes("projector", (64, 24, 12)) | foreign_networks.head_shapes(
    "predictor", (12, 24, 12)
)


def _images(size=64, count=4):
    return np.random.default_rng(7).uniform(0, 1, (count, size, size, 3)).astype(np.float32)


def _pickled(path, tree):
    path.write_bytes(pickle.dumps(tree, protocol=2))
    return path


def _rename(tree, old, new):
    for part in ("online_params", "online_state"):
        group = tree["experiment_state"][part]
        tree["experiment_state"][part] = {module.replace(old, new): arrays for module, arrays in group.items()}
    return tree


def _unit(features):
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


class _TestCase(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self._folder = pathlib.Path(self.create_tempdir().full_path)
        self._source, self._workdir = self._folder / "source", self._folder / "run"

    def _import(self, **settings):
        checkpoint = import_checkpoint.import_checkpoint(self._source, self._workdir, **settings)
        hyperparameters, network, step = checkpoints.load_online(self._workdir)
        self.assertEqual(step, checkpoint.step)
        return hyperparameters, network, checkpoint

    def _assert_refused(self, pattern, **settings):
        with self.assertRaisesRegex(ValueError, pattern) as caught:
            import_checkpoint.import_checkpoint(self._source, self._workdir, **_SMALL | settings)
        self.assertNotIn("\n", str(caught.exception))
        self.assertFalse((self._workdir / "hyperparameters.json").exists())
        self.assertEmpty([path for path in self._folder.iterdir() if path.name.startswith(".run")])


class OfficialTest(_TestCase):
    def _official(self, shapes=None, *, change=lambda tree: tree):
        _pickled(
            self._source, change(foreign_networks.official_tree(shapes or foreign_networks.official_shapes(**_TINY)))
        )

    def _assert_exported_features_equal_the_recorded_ones(self, name, shapes):
        tree = foreign_networks.official_tree(shapes)
        _pickled(self._source, tree)
        self._import(**_RAW)
        export_model.export(self._workdir, self._folder / "1", embedding="features")
        served = tf.saved_model.load(str(self._folder / "1"))
        features = served.signatures["embed_images"](images=tf.constant(_images()))["embedding"].numpy()
        with np.load(testing.golden(f"{name}.npz")) as recorded:
            expected = _unit(recorded["features_eval"])
        self.assertLess(np.linalg.norm(features - expected), 1e-4 * np.linalg.norm(expected))
        state = tree["experiment_state"]
        originals = [array for group in state["online_params"].values() for array in group.values()]
        originals += [group["average"] for group in state["online_state"].values()]
        exported = {variable.numpy().tobytes() for variable in served.variables}
        self.assertEqual([a.shape for a in originals if a.tobytes() not in exported], [])

    @testing.slow
    def test_an_exported_resnet18_gives_the_recorded_features_and_holds_the_weights_bit_for_bit(self):
        self._assert_exported_features_equal_the_recorded_ones("ResNet18_1x", foreign_networks.official_shapes())

    @parameterized.named_parameters(
        ("ResNet50_1x", "ResNet50_1x", {}),
        ("ResNet50_2x", "ResNet50_2x", {"channels": 128}),
        ("ResNet50_1x_v2", "ResNet50_1x_v2", {"version": 2}),
        ("ResNet200_2x", "ResNet200_2x", {"blocks": (3, 24, 36, 3), "channels": 128, "module": "res_net200"}),
    )
    @testing.slow
    def test_an_exported_network_gives_the_recorded_features(self, name, architecture):
        architecture = {"blocks": (3, 4, 6, 3), "bottleneck": True, "module": "res_net50"} | architecture
        self._assert_exported_features_equal_the_recorded_ones(name, foreign_networks.official_shapes(**architecture))

    def test_the_run_has_the_networks_settings_and_the_users_data(self):
        self._official(foreign_networks.official_shapes(**_TINY) | _HEADS)
        settings = {
            "recipe": "cifar",
            "large_size": 32,
            "data": "tfds:cifar10",
            "data_dir": "there",
            "label_fraction": 0.1,
        }
        self._import(**settings)
        expected = settings | {"encoder": "resnet18", "width": 0.125, "head_width": 24, "embedding_width": 12}
        self.assertEqual(Hyperparameters.load(self._workdir), Hyperparameters(**expected))

    def test_without_settings_it_is_a_run_on_imagenet(self):
        self._official()
        self._import(head_width=16)
        expected = {"data": "tfds:imagenet2012", "label_fraction": 1.0, "recipe": "imagenet", "large_size": 224}
        expected |= {"encoder": "resnet18", "width": 0.125, "head_width": 16}
        self.assertEqual(Hyperparameters.load(self._workdir), Hyperparameters(**expected))

    def test_every_variable_of_all_three_parts_has_its_array(self):
        tree = foreign_networks.official_tree(foreign_networks.official_shapes(**_TINY) | _HEADS, step=123)
        _pickled(self._source, tree)
        _, network, checkpoint = self._import(recipe="identity", large_size=32)
        self.assertEqual((checkpoint.step, checkpoint.lacks), (123, ()))
        params, state = (tree["experiment_state"][part] for part in ("online_params", "online_state"))
        block = network.encoder.block_groups[1][0]
        place = "res_net18/~/block_group_1/~/block_0/~"
        for variable, array in (
            (network.encoder.stem_convolutions[0].kernel, params["res_net18/~/initial_conv"]["w"]),
            (block.convolutions[1].kernel, params[f"{place}/conv_1"]["w"]),
            (block.shortcut_conv.kernel, params[f"{place}/shortcut_conv"]["w"]),
            (block.shortcut_norm.gamma, params[f"{place}/shortcut_batchnorm"]["scale"]),
            (block.norms[0].beta, params[f"{place}/batchnorm_0"]["offset"]),
            (block.norms[1].moving_mean, state[f"{place}/batchnorm_1/~/mean_ema"]["average"]),
            (block.norms[1].moving_variance, state[f"{place}/batchnorm_1/~/var_ema"]["average"]),
            (network.projector.hidden.kernel, params["projector/linear"]["w"]),
            (network.projector.hidden.bias, params["projector/linear"]["b"]),
            (network.projector.hidden_norm.gamma, params["projector/batch_norm"]["scale"]),
            (network.predictor.outputs.kernel, params["predictor/linear_1"]["w"]),
            (network.predictor.hidden_norm.moving_mean, state["predictor/batch_norm/~/mean_ema"]["average"]),
        ):
            self.assertEqual(variable.numpy().tobytes(), array.tobytes())

    @parameterized.parameters((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)))
    def test_basic_architectures_are_recognised(self, depth, blocks):
        for version, stem_size in ((1, 7), (2, 7), (1, 3), (2, 3)):
            shapes = foreign_networks.official_shapes(blocks, channels=16, version=version, stem_size=stem_size)
            name = f"resnet{depth}{'_v2' if version == 2 else ''}{'_cifar' if stem_size == 3 else ''}"
            self._official(shapes)
            self.assertEqual(haiku.read(self._source).settings, {"encoder": name, "width": 0.25})

    @parameterized.parameters((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)), (152, (3, 8, 36, 3)), (200, (3, 24, 36, 3)))
    def test_bottleneck_architectures_are_recognised(self, depth, blocks):
        shapes = foreign_networks.official_shapes(blocks, channels=8, bottleneck=True, module="res_net50")
        self._official(shapes)
        self.assertEqual(haiku.read(self._source).settings, {"encoder": f"resnet{depth}", "width": 0.125})

    @parameterized.named_parameters(
        ("another_module", lambda tree: _rename(tree, "res_net18", "byol/~/encoder_x")),
        ("a_module_made_twice", lambda tree: _rename(tree, "/initial_conv", "/initial_conv_1")),
        ("an_axis_of_devices", lambda tree: tf.nest.map_structure(lambda a: np.stack([a, a - a]), tree)),
        ("no_experiment", lambda tree: tree["experiment_state"] | {"step": tree["step"]}),
        ("float64", lambda tree: tf.nest.map_structure(lambda a: np.asarray(a, np.float64), tree)),
    )
    def test_variants_of_the_layout_hold_the_same_network(self, change):
        expected = foreign_networks.official_tree(foreign_networks.official_shapes(**_TINY))["experiment_state"]
        self._official(change=change)
        _, network, checkpoint = self._import(**_SMALL)
        self.assertEqual(checkpoint.step, 7)
        kernel = expected["online_params"]["res_net18/~/initial_conv"]["w"]
        self.assertAllEqual(network.encoder.stem_convolutions[0].kernel, kernel)
        mean = expected["online_state"]["res_net18/~/initial_batchnorm/~/mean_ema"]["average"]
        self.assertAllEqual(network.encoder.stem_norms[0].moving_mean, mean.ravel())

    @parameterized.named_parameters(
        ("none", {}, ("projector", "predictor")),
        ("deeper", _HEADS | {"projector/linear_2/w": (12, 12)}, ("projector", "predictor")),
        ("projector_only", foreign_networks.head_shapes("projector", (64, 24, 12)), ("predictor",)),
        (
            "another_predictor",
            _HEADS | foreign_networks.head_shapes("predictor", (12, 30, 12)),
            ("predictor",),
        ),
        ("classifier", _HEADS | {"classifier/w": (64, 10), "classifier/b": (10,)}, ()),
    )
    def test_heads_of_another_form_start_anew_and_are_named(self, heads, lacks):
        self._official(foreign_networks.official_shapes(**_TINY) | heads)
        checkpoint = haiku.read(self._source)
        self.assertEqual(checkpoint.lacks, lacks)
        self.assertEqual("head_width" in checkpoint.settings, "projector" not in lacks)

    def test_what_starts_anew_is_the_same_every_time(self):
        self._official()
        _, first, _ = self._import(**_SMALL)
        self._workdir = self._folder / "again"
        _, second, _ = self._import(**_SMALL)
        self.assertAllEqual(first.projector.hidden.kernel, second.projector.hidden.kernel)
        self.assertGreater(np.std(first.predictor.outputs.kernel), 0)

    def test_evaluation_accepts_the_run(self):
        self._official()
        self._import(**_SMALL | {"data": "pictures"})
        split = sources.ImageSet(_images(32, 6), np.arange(6, dtype=np.int32) % 2)
        pictures = {"pictures": lambda request: sources.Source(split, split, ("a", "b"))}
        with mock.patch.dict(sources.SOURCES, pictures):
            metrics = evaluate.evaluate(self._workdir, evaluators=["nearest_neighbours"])["accuracy"]
        self.assertEqual(metrics["features"]["nearest_neighbours"], 1.0)
        self.assertEqual(json.loads((self._workdir / "metrics.json").read_text())["labelled"], 6)

    def test_a_shape_that_does_not_fit_is_named_first_with_both(self):
        shapes = foreign_networks.official_shapes(**_TINY)
        place = "res_net18/~/block_group_2/~/block_1/~/conv_0/w"
        self.assertEqual(shapes[place], (3, 3, 32, 32))
        shapes[place] = (3, 3, 32, 40)
        shapes["res_net18/~/block_group_3/~/block_1/~/conv_0/w"] = (1, 2, 3, 4)
        self._official(shapes)
        self._assert_refused(
            rf"a resnet18 of width 0.125, which it looks like: {place} must have the shape "
            r"\(3, 3, 32, 32\). Received: \(3, 3, 32, 40\)$"
        )

    def test_a_missing_array_is_named(self):
        shapes = foreign_networks.official_shapes(**_TINY)
        del shapes["res_net18/~/block_group_2/~/block_1/~/conv_0/w"]
        self._official(shapes)
        self._assert_refused(r"block_group_2/~/block_1/~/conv_0/w must be there, with the shape \(3, 3, 32, 32\)")

    def test_a_superfluous_array_is_named(self):
        place = "res_net18/~/block_group_2/~/block_1/~/selective_kernel/w"
        self._official(foreign_networks.official_shapes(**_TINY) | {place: (32, 64)})
        self._assert_refused(rf"{place} must not be there. Received: \(32, 64\)$")

    def test_a_value_that_is_no_number_is_named(self):
        def spoil(tree):
            tree["experiment_state"]["online_params"]["res_net18/~/initial_conv"]["w"][0, 0, 0, :2] = np.nan, np.inf
            return tree

        self._official(change=spoil)
        self._assert_refused("res_net18/~/initial_conv/w must be finite. Received: 2 values that are not$")

    @parameterized.parameters("S4", "complex64")
    def test_an_array_of_something_else_is_named(self, kind):
        def spoil(tree):
            stem = tree["experiment_state"]["online_params"]["res_net18/~/initial_conv"]
            stem["w"] = stem["w"].astype(kind)
            return tree

        self._official(change=spoil)
        self._assert_refused("res_net18/~/initial_conv/w must hold real numbers. Received: ")

    @parameterized.parameters(((7, 7, 0, 10**12),), ((8,),))
    def test_a_shape_without_numbers_builds_no_giant(self, shape):
        def spoil(tree):
            tree["experiment_state"]["online_params"]["res_net18/~/initial_conv"]["w"] = np.zeros(shape, np.float32)
            return tree

        self._official(change=spoil)
        self._assert_refused(r"must hold arrays of numbers\. Received: .*res_net18/~/initial_conv/w of the shape \(")

    @parameterized.parameters((None, "None"), ([], r"\[\]"), ("seven", "'seven'"), (float("nan"), "nan"))
    def test_a_step_that_is_no_number_is_refused(self, step, described):
        self._official(change=lambda tree: tree | {"step": step})
        self._assert_refused(f"must hold a number of steps. Received: .*source, {described}$")

    @parameterized.parameters(((1, 1, 1, 1), False), ((2, 2, 2, 2), True), ((3, 4, 6, 4), True))
    def test_an_unknown_architecture_is_described(self, blocks, bottleneck):
        self._official(foreign_networks.official_shapes(blocks, bottleneck=bottleneck, channels=8))
        kind = "bottleneck" if bottleneck else "basic"
        self._assert_refused(rf"must hold a ResNet with the blocks of one of 18: .*{kind}$".replace("(", r"\("))

    @parameterized.parameters(
        ([1, 2], "a list"),
        ({}, "a dictionary with nothing"),
        ({"experiment_state": {"params": {}}}, "a dictionary with params"),
        ({"experiment_state": {"online_params": {}, "online_state": []}}, "with online_params, online_state"),
    )
    def test_another_dictionary_is_described(self, tree, described):
        _pickled(self._source, tree)
        self._assert_refused(f"must be a checkpoint of SemPPL, ReLICv2 or BYOL.* Received: .*{described}$")

    @parameterized.parameters("mobilenet/~/conv", "sk_res_net50/~/initial_conv")
    def test_another_network_is_refused(self, module):
        self._official({f"{module}_{number}/w": (3, 3, 3, 8) for number in (1, 2)})
        self._assert_refused("must hold one ResNet, .* Received: .*source, with none$")

    def test_a_truncated_file_is_refused(self):
        self._official()
        self._source.write_bytes(self._source.read_bytes()[:-1000])
        self._assert_refused("must be a whole file. Received: .*source, which ends too early; fetch it again$")

    def test_a_hostile_file_runs_nothing(self):
        trace = self._folder / "trace"

        class Hostile:
            def __reduce__(self):
                return os.system, (f"touch {trace}",)

        self._official(change=lambda tree: tree | {"rng": Hostile()})
        self._assert_refused(f"which asks for {os.system.__module__}.system; nothing of it was run$")
        self.assertFalse(trace.exists())

    def test_a_missing_file_is_refused(self):
        self._assert_refused("--source must be an existing file. Received: .*source$")

    def test_a_folder_without_a_checkpoint_is_refused(self):
        self._source.mkdir()
        self._assert_refused("--source must be a file, or a folder with a TensorFlow checkpoint. Received: .*source$")

    @parameterized.parameters("file", "folder")
    def test_a_folder_that_holds_something_is_left_alone(self, kind):
        self._official()
        if kind == "folder":
            self._workdir.mkdir()
        (self._workdir / "mine" if kind == "folder" else self._workdir).write_text("mine")
        self._assert_refused("--workdir must be a new or empty folder. Received: .*run, which holds something already$")

    def test_an_import_that_breaks_off_leaves_nothing(self):
        self._official()
        full = mock.patch.object(files, "write_atomically", side_effect=OSError("no space"))
        with full, self.assertRaisesRegex(OSError, "no space"):
            import_checkpoint.import_checkpoint(self._source, self._workdir, **_SMALL)
        self.assertEqual(list(self._folder.iterdir()), [self._source])

    def test_an_empty_folder_becomes_the_run(self):
        self._official()
        self._workdir.mkdir()
        self._import(**_SMALL)
        self.assertCountEqual(os.listdir(self._workdir), ["checkpoints", "hyperparameters.json", "trained_parts.json"])
        self.assertEqual(read_trained_parts(self._workdir), ("encoder",))

    def test_heads_that_the_checkpoint_has_are_trained(self):
        self._official(foreign_networks.official_shapes(**_TINY) | _HEADS)
        self._import(recipe="identity", large_size=32)
        self.assertEqual(read_trained_parts(self._workdir), ("encoder", "projector", "predictor"))

    def test_a_folder_that_cannot_be_written_is_named_before_the_source_is_read(self):
        self._workdir = pathlib.Path("/proc/x/run")
        with mock.patch.object(import_checkpoint, "read") as read:
            self._assert_refused("--workdir must be a folder that can be written. Received: /proc/x/run ")
        read.assert_not_called()

    def test_wrong_settings_are_refused(self):
        self._official()
        self._assert_refused("--large_size must be 8 or more pixels. Received: 4", large_size=4)
        self._assert_refused("--recipe must be one of cifar, .*. Received: nope$", recipe="nope")


class ChannelsTest(_TestCase):
    def test_grey_pictures_are_refused_by_name(self):
        _pickled(self._source, foreign_networks.official_tree(foreign_networks.official_shapes(**_TINY)))
        with self.assertRaisesRegex(
            ValueError, "^--pixel_mean must have a value per channel of the checkpoint, 3. Rec"
        ):
            import_checkpoint.import_checkpoint(self._source, self._workdir, pixel_mean=(0.5,), pixel_stddev=(0.5,))


class CommandTest(_TestCase):
    def _start(self, *arguments):
        command = [sys.executable, "-m", "semppl.export.import_checkpoint", f"--workdir={self._workdir}", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_the_command_imports_and_says_what_or_says_what_is_wrong(self):
        _pickled(self._source, foreign_networks.official_tree(foreign_networks.official_shapes(**_TINY)))
        settings = ("--large_size=32", "--pixel_mean=0,0.5,1", "--labels_per_class=3")
        good = self._start(f"--source={self._source}", *settings)
        bad = self._start("--source=nowhere.pkl")
        self.assertEqual(
            good.communicate(),
            (
                f"imported to {self._workdir}: official (Haiku), resnet18, width 0.125, 7 steps\n"
                "not in the checkpoint, and untrained: projector and predictor; use features, not projections\n",
                "",
            ),
        )
        line = "error: --source must be an existing file. Received: nowhere.pkl\n"
        self.assertEqual(bad.communicate(), ("", line))
        self.assertEqual((good.returncode, bad.returncode), (0, 2))
        hyperparameters = Hyperparameters.load(self._workdir)
        self.assertEqual((hyperparameters.pixel_mean, hyperparameters.large_size), ((0.0, 0.5, 1.0), 32))
        self.assertEqual((hyperparameters.labels_per_class, hyperparameters.label_fraction), (3, 0.0))


class SimclrTest(_TestCase):
    def _write(self, arrays):
        """Writes a checkpoint of names and arrays, as TensorFlow 1 does."""
        prefix = self._folder / "model.ckpt-12"
        names = list(arrays)
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(arrays[name]) for name in names],
        )
        self._source = prefix

    @parameterized.named_parameters(
        ("basic", "resnet18_simclr", (2, 2, 2, 2), False, False),
        ("bottleneck", "resnet50_simclr", (3, 4, 6, 3), True, False),
        ("selective", "sk_resnet50_simclr", (3, 4, 6, 3), True, True),
    )
    def test_features_equal_those_of_simclrs_network(self, name, blocks, bottleneck, selective):
        architecture = {"blocks": blocks, "bottleneck": bottleneck, "selective": selective}
        arrays = foreign_networks.simclr_arrays(**architecture, channels=8)
        others = {f"ema_model/{name}": array + 1 for name, array in arrays.items()}
        others |= {f"{name}/Momentum": array + 1 for name, array in arrays.items()}
        others |= {"head_contrastive/nl_0/batch_normalization/gamma": np.ones(3, np.float32)}
        others |= {"head_supervised/linear_layer/dense/kernel": np.ones((3, 3), np.float32)}
        self._write(arrays | others | {"global_step": np.int64(12)})
        hyperparameters, network, checkpoint = self._import(**_SMALL | {"large_size": 37})
        self.assertEqual((hyperparameters.encoder, hyperparameters.width, checkpoint.step), (name, 0.125, 12))
        self.assertEqual(hyperparameters.pixel_stddev, (1.0, 1.0, 1.0))
        images = _images(37)
        expected = foreign_networks.simclr_features(arrays, images, **architecture)
        features = network.features(images).numpy()
        self.assertLess(np.linalg.norm(features - expected), 1e-4 * np.linalg.norm(expected))
        values = {variable.numpy().tobytes() for variable in network.encoder.variables}
        self.assertEqual(values, {array.tobytes() for array in arrays.values()})

    @parameterized.parameters(
        *((depth, False, size) for depth in resnet.BLOCKS_PER_GROUP for size in (7, 3)),
        *((depth, True, 3) for depth in resnet.BLOCKS_PER_GROUP if depth >= 50),
    )
    def test_architectures_are_recognised(self, depth, selective, stem_size):
        stem = "_cifar" if stem_size == 3 and not selective else ""
        layers = foreign_networks.simclr_layers(
            resnet.BLOCKS_PER_GROUP[depth],
            bottleneck=depth >= 50,
            selective=selective,
            channels=128,
            stem_size=stem_size,
        )
        kernels = [shape for kind, shape in layers if kind == "conv2d"]
        name = f"{'sk_' if selective else ''}resnet{depth}{stem}_simclr"
        self.assertEqual(simclr._settings(kernels, ""), {"encoder": name, "width": 2.0})

    def test_a_checkpoint_of_tensorflow_2_is_read_by_the_names_of_its_variables(self):
        arrays = foreign_networks.simclr_arrays(blocks=(2, 2, 2, 2), bottleneck=False, selective=False, channels=8)
        variables = [
            tf.Variable(
                array, name=name.replace("base_model/", "resnet/block/").replace("batch_norm", "sync_batch_norm")
            )
            for name, array in arrays.items()
        ]
        head = tf.Variable(tf.ones(3), name="projection_head/nl_0/sync_batch_normalization_99/gamma")
        path = tf.train.Checkpoint(variables=variables, head=head).save(str(self._folder / "tf2" / "ckpt"))
        self._source = pathlib.Path(path).parent
        hyperparameters, network, _ = self._import(**_SMALL | {"pixel_stddev": (0.5,) * 3})
        values = {variable.numpy().tobytes() for variable in network.encoder.variables}
        self.assertEqual(values, {array.tobytes() for array in arrays.values()})
        self.assertEqual((hyperparameters.pixel_mean, hyperparameters.pixel_stddev), ((0.0,) * 3, (0.5,) * 3))

    def test_a_shape_that_does_not_fit_is_named_with_both(self):
        arrays = foreign_networks.simclr_arrays(blocks=(2, 2, 2, 2), bottleneck=False, selective=False, channels=8)
        arrays["base_model/conv2d_7/kernel"] = np.zeros((3, 3, 16, 24), np.float32)
        self._write(arrays)
        self._assert_refused(r"conv2d_7/kernel must have the shape \(3, 3, 8, 16\). Received: \(3, 3, 16, 24\)$")

    def test_another_network_is_described(self):
        self._write({"base_model/conv2d/kernel": np.zeros((3, 3, 3, 8), np.float32)})
        self._assert_refused("must hold a ResNet of SimCLR: .*with 1 convolutions$")

    def test_half_a_checkpoint_is_refused(self):
        arrays = foreign_networks.simclr_arrays(blocks=(2, 2, 2, 2), bottleneck=False, selective=False, channels=8)
        self._write(arrays)
        pathlib.Path(f"{self._source}.data-00000-of-00001").unlink()
        self._assert_refused("--source must be a whole checkpoint. Received: .*; fetch it again$")


class KerasTest(_TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.application = tf.keras.applications.ResNet50(weights=None, include_top=False, pooling="avg")
        generator = np.random.default_rng(0)
        for variable in cls.application.variables:
            name = variable.name.split("/")[-1]
            if name == "moving_variance:0":
                variable.assign(generator.uniform(1e-5, 1.5, variable.shape))
            elif name == "gamma:0":
                variable.assign(generator.uniform(0.3, 0.7, variable.shape))
            elif name != "kernel:0":
                variable.assign(generator.normal(0, 0.1, variable.shape))

    def test_features_equal_those_of_keras_on_its_own_preprocessing(self):
        self._source = self._folder / "weights.h5"
        self.application.save_weights(self._source)
        hyperparameters, network, _ = self._import(**_SMALL | {"large_size": 64})
        self.assertEqual((hyperparameters.encoder, hyperparameters.width), ("resnet50_keras", 1.0))
        images = _images()
        expected = self.application(tf.keras.applications.resnet50.preprocess_input(images * 255)).numpy()
        features = network.features(images).numpy()
        self.assertLess(np.linalg.norm(features - expected), 1e-4 * np.linalg.norm(expected))
        kernels = [v.numpy() for v in self.application.variables if v.name.endswith("kernel:0")]
        kernels[0] = kernels[0][:, :, ::-1]
        values = {variable.numpy().tobytes() for variable in network.encoder.variables}
        self.assertContainsSubset({kernel.tobytes() for kernel in kernels}, values)

    @parameterized.parameters("new.weights.h5", "model.h5", "model.keras")
    def test_every_kind_of_file_holds_the_same(self, name):
        self._source, weights = self._folder / name, self._folder / "weights.h5"
        self.application.save_weights(weights)
        save = self.application.save_weights if "weights" in name else self.application.save
        save(self._source)
        if name == "model.h5":
            with h5py.File(self._source, "a") as file:
                file["optimizer_weights/Adam/m/conv1_conv/kernel:0"] = np.zeros((7, 7, 3, 64))
        arrays, expected = (import_checkpoint.read(path).arrays for path in (self._source, weights))
        self.assertEqual(arrays.keys(), expected.keys())
        for layer, array in expected.items():
            self.assertEqual(arrays[layer].tobytes(), array.tobytes(), layer)

    @parameterized.parameters(101, 152)
    @testing.slow
    def test_layers_of_deeper_networks_are_counted_in_keras_order(self, depth):
        with tf.Graph().as_default():
            application = getattr(tf.keras.applications, f"ResNet{depth}")(weights=None, include_top=False)
            convolutions = [layer.name for layer in application.layers if isinstance(layer, tf.keras.layers.Conv2D)]
        self.assertEqual([f"{layer}_conv" for layer in keras_applications._layers_in_order(depth)], convolutions)

    def test_another_network_of_keras_is_described(self):
        model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        for name in ("model.h5", "model.keras"):
            self._source = self._folder / name
            model.save(self._source)
            self._assert_refused(
                r"must hold a ResNet of Keras Applications, depth 50, 101, 152. .* \(0, 0, 0, 0\) blocks"
            )

    @parameterized.parameters(b"\x89HDF\r\n\x1a\n", b"PK\x03\x04")
    def test_half_a_file_is_refused(self, start):
        self._source.write_bytes(start + b"abc")
        self._assert_refused("--source must be a whole file of Keras weights. Received: .*source")


if __name__ == "__main__":
    tf.test.main()
