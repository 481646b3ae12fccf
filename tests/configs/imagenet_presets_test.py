"""Tests of configs/imagenet_*.flags: each is built and traced at full size, with no number of it in memory."""

import contextlib
import functools
import pathlib
from unittest import mock

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized
from tensorflow.python.ops import resource_variable_ops  # for variables without a value

from semppl import configs
from semppl.data import splits
from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.tests import testing
from semppl.trainers import pretrain
from semppl.trainers.optimisers import schedules
from semppl.trainers.optimisers.lars import LARS
from semppl.trainers.semppl import SemPPL

FOLDER = pathlib.Path(configs.__file__).parent
IMAGES = 1_281_167
LABELLED = {"1": 12_811, "10": 128_116}
# f from the official checkpoints' names (tests/goldens/README.md), the selective kernels' from the loops below.
ENCODERS = {"resnet50": 23_508_032, "sk_resnet50": None, "resnet200_2x": 250_128_512}
PRESETS = [(encoder, percent) for encoder in ENCODERS for percent in LABELLED]


@functools.cache
def _settings(encoder, percent):
    path = FOLDER / f"imagenet_{percent}_percent_{encoder}.flags"
    with flagsaver.flagsaver():
        flags.FLAGS(["pretrain", "--workdir=nowhere", f"--flagfile={path}"])
        settings = pretrain.hyperparameters_from_flags()
    return settings.resolved(num_images=IMAGES, num_labelled=LABELLED[percent], replicas=1)


@contextlib.contextmanager
def _without_values():
    """Gives variables a shape and a handle, and no memory, unless they are single numbers."""

    def make(next_creator, **arguments):
        initial = arguments["initial_value"]
        shape = tf.TensorShape(arguments["shape"] if callable(initial) else tf.convert_to_tensor(initial).shape)
        if shape.num_elements() == 1:
            return next_creator(**arguments)
        passed = ("trainable", "dtype", "name", "aggregation", "synchronization")
        return resource_variable_ops.UninitializedVariable(
            shape=shape, **{name: arguments[name] for name in passed if name in arguments}
        )

    with tf.variable_creator_scope(make):
        yield


@functools.cache
def _model(encoder, percent):
    with _without_values():
        return pretrain.build_model(_settings(encoder, percent), 1000, jit_compile=False)


def _size(variables):
    return sum(variable.shape.num_elements() for variable in variables)


def _selective_kernel_resnet50():
    """Counts SimCLRv2's trainable parameters, convolution by convolution; a norm has two per channel."""
    stem = sum(9 * inputs * outputs + 2 * outputs for inputs, outputs in ((3, 32), (32, 32), (32, 64)))
    total, inputs = stem, 64
    for group, blocks in enumerate((3, 4, 6, 3)):
        narrow, wide = 64 * 2**group, 256 * 2**group
        for block in range(blocks):
            total += inputs * narrow + 2 * narrow
            total += 9 * narrow * 2 * narrow + 2 * 2 * narrow  # both streams in one convolution
            squeezed = max(int(narrow * 0.0625), 32)
            total += narrow * squeezed + 2 * squeezed + squeezed * 2 * narrow
            total += narrow * wide + 2 * wide
            total += inputs * wide + 2 * wide if block == 0 else 0  # the shortcut
            inputs = wide
    return total


def _heads(features):
    """Projector and predictor: linear with bias to 4096, norm, linear to 256."""
    return sum(inputs * 4096 + 4096 + 2 * 4096 + 4096 * 256 for inputs in (features, 256))


class ImageNetPresetsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(*PRESETS)
    def test_settings_are_the_papers(self, encoder, percent):
        settings = _settings(encoder, percent)
        expected = {
            "method": "semppl",
            "data": "tfds:imagenet2012",
            "recipe": "imagenet",
            "num_views": 6,
            "large_views": 4,
            "large_size": 224,
            "small_size": 96,
            "encoder": encoder.removesuffix("_2x"),
            "width": 2 if encoder.endswith("_2x") else 1,
            "norm": "batch",
            "head_width": 4096,
            "embedding_width": 256,
            "temperature": 0.2,
            "negatives": 10,
            "semantic_positives": 3,
            "neighbours": 1,
            "queue_size": 20 * 4096,
            "contrastive_weight": 0.3,
            "semantic_weight": 0.2,
            "invariance_weight": 5,
            "batch_size": 4096,
            "optimiser": "lars",
            "peak_learning_rate": 0.3 * 16,
            "steps": 300 * IMAGES // 4096,
            "warmup_steps": 10 * IMAGES // 4096,
            "weight_decay": 1e-6,
            "momentum": 0.9,
            "trust_coefficient": 1e-3,
            "target_decay": 0.99,
            "precision": "float32",
        }
        self.assertEqual({name: getattr(settings, name) for name in expected}, expected)

    @parameterized.parameters(*PRESETS)
    def test_labelled_images_have_about_their_natural_share_and_can_be_shared(self, encoder, percent):
        settings = _settings(encoder, percent)
        natural = 4096 * LABELLED[percent] / IMAGES
        self.assertBetween(settings.labelled_batch_size, natural, 1.2 * natural)
        for replicas in (1, 2, 4, 8, 16):
            settings.resolved(num_images=IMAGES, num_labelled=LABELLED[percent], replicas=replicas)

    @parameterized.parameters(*PRESETS)
    def test_comments_say_what_to_type_what_to_expect_and_what_is_not_known(self, encoder, percent):
        name = f"imagenet_{percent}_percent_{encoder}.flags"
        text = (FOLDER / name).read_text(encoding="utf-8")
        self.assertIn(f"--preset={name.removesuffix('.flags')}", text)
        self.assertIn(f"{LABELLED[percent]:,} of the {IMAGES:,} images", text)
        self.assertIn(f"--label_list={percent}percent.txt", text)
        self.assertIn("Hours: unknown", text)
        score = {
            ("resnet50", "1"): "68.5",
            ("resnet50", "10"): "76.0",
            ("sk_resnet50", "1"): "72.3",
            ("sk_resnet50", "10"): "78.3",
        }
        published = score.get((encoder, percent))
        self.assertIn(
            f"Published: {published} % top-1" if published else "Published: the paper's abstract gives no", text
        )

    @parameterized.parameters("1percent.txt", "10percent.txt")
    def test_a_label_list_that_is_not_there_is_named(self, name):
        source = mock.Mock(train=mock.Mock(channels=3))
        settings = _settings("resnet50", name.partition("percent")[0])
        with (
            mock.patch.object(splits, "load_splits", return_value=source),
            self.assertRaisesRegex(ValueError, f"^--label_list must be a file.* Received: {name}$"),
        ):
            pretrain.prepare_data(settings, 1)

    @parameterized.parameters("resnet50", "sk_resnet50", "resnet200_2x")
    @testing.slow
    def test_networks_have_the_published_sizes(self, encoder):
        model = _model(encoder, "1")
        encoder_size = ENCODERS[encoder] or _selective_kernel_resnet50()
        features = 4096 if encoder.endswith("_2x") else 2048
        self.assertEqual(_size(model.online.encoder.trainable_variables), encoder_size)
        self.assertEqual(_size(model.trained_variables()), encoder_size + _heads(features))
        without_predictor = _heads(features) - (256 * 4096 + 4096 + 2 * 4096 + 4096 * 256)
        self.assertEqual(_size(model.target.trainable_variables), encoder_size + without_predictor)
        self.assertEqual(model.queue.embeddings.shape, (4, 81_920, 256))
        self.assertIsInstance(model.optimizer, LARS)
        self.assertIsInstance(model.optimizer._learning_rate, schedules.WarmupCosine)

    @testing.slow
    def test_a_step_of_full_size_is_traced(self):
        self.trace("resnet50", "1")

    @parameterized.parameters(*(preset for preset in PRESETS if preset != ("resnet50", "1")))
    @testing.slow
    def test_a_step_of_full_size_is_traced_of_every_other_preset(self, encoder, percent):
        self.trace(encoder, percent)

    def trace(self, encoder, percent):
        """Traces a step, and looks at the shapes that meet in the loss."""
        model, settings = _model(encoder, percent), _settings(encoder, percent)
        batch = {
            "large": tf.TensorSpec([4, 4096, 224, 224, 3]),
            "small": tf.TensorSpec([2, 4096, 96, 96, 3]),
            "labels": tf.TensorSpec([4096], tf.int32),
            "truth": tf.TensorSpec([4096], tf.int32),
            "groups": tf.TensorSpec([4096], tf.int64),
        }
        with (
            mock.patch.object(SemPPL, "compare", autospec=True, side_effect=SemPPL.compare) as compare,
            mock.patch.object(EmbeddingQueue, "enqueue", autospec=True, side_effect=EmbeddingQueue.enqueue) as enqueue,
        ):
            step = tf.function(model.train_step, autograph=False).get_concrete_function(batch)
        _, anchors, targets, negatives, positives = compare.call_args.args
        self.assertEqual(anchors.shape, (6, 4096, 256))
        self.assertEqual(targets.shape, (4, 4096, 256))
        self.assertEqual(negatives.shape, (4096, 4, 10))
        self.assertEqual(positives.slots.shape, (4096, 4, 3))
        rows = settings.labelled_batch_size
        self.assertEqual([part.shape for part in enqueue.call_args.args[1:]], [(4, rows, 256), (rows,), (rows,)])
        self.assertEqual({value.shape for value in step.structured_outputs.values()}, {tf.TensorShape([])})


if __name__ == "__main__":
    tf.test.main()
