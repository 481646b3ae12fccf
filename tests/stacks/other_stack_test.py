"""Tests that runs and models of one stack are read by the other: tests/goldens/stacks has both stacks'.

python -m semppl.tests.stacks.other_stack_test record tests/goldens/stacks/tf215    # records them; tf221 with its Python
"""

import json
import pathlib
import shutil
import sys

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.evaluation.evaluate import evaluate
from semppl.export.export_model import export
from semppl.export.loaded import Model
from semppl.tests import testing
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions

_STACKS = ("tf215", "tf221")
SETTINGS = {
    "labels_per_class": 2,
    "recipe": "digits",
    "large_views": 2,
    "small_views": 1,
    "large_size": 8,
    "small_size": 8,
    "encoder": "convnet",
    "width": 0.125,
    "head_width": 16,
    "embedding_width": 8,
    "pixel_mean": (0.3,),
    "pixel_stddev": (0.38,),
    "semantic_weight": 1.0,
    "invariance_weight": 0.1,
    "batch_size": 64,
    "labelled_batch_size": 16,
    "queue_size": 128,
    "steps": 12,
    "optimiser": "adamw",
    "learning_rate": 0.008,
    "warmup_steps": 2,
}


def pictures() -> list[bytes]:
    """Returns PNG and JPEG files of test digits, and one that is broken."""
    images = np.round(load_source("digits").test.images[:5] * 255).astype(np.uint8)
    encoded = [tf.io.encode_png(image).numpy() for image in images[:4]]
    return [*encoded, tf.io.encode_jpeg(images[4], quality=100).numpy(), encoded[0][:40]]


def answers(served: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the outputs of every signature of a SavedModel, by "signature/output"."""
    signatures = tf.saved_model.load(str(served)).signatures
    values = {"images": load_source("digits").test.images[:5], "bytes": pictures()}
    values["embedding"] = signatures["embed_images"](images=tf.constant(values["images"]))["embedding"]
    outputs = {}
    for name, signature in signatures.items():
        (argument,) = signature.structured_input_signature[1]
        for key, output in signature(**{argument: tf.constant(values[argument])}).items():
            outputs[f"{name}/{key}"] = output.numpy().astype(
                np.str_ if output.dtype == tf.string else output.dtype.as_numpy_dtype
            )
    return outputs


def record(folder: pathlib.Path) -> None:
    """Trains, evaluates, exports and answers, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    tf.config.experimental.enable_op_determinism()
    pretrain(Hyperparameters(**SETTINGS), folder / "run", RunOptions(strategy="default", checkpoint_every=6))
    shutil.rmtree(folder / "run" / "tensorboard", ignore_errors=True)
    evaluate(folder / "run")
    export(folder / "run", folder / "served" / "1")
    np.savez_compressed(folder / "answers.npz", **answers(folder / "served" / "1"))


class OtherStackTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def golden(self, stack):
        return testing.golden("stacks") / stack

    def run_at(self, step, stack):
        """Copies a recorded run as it was at a step."""
        run = self.folder / "run"
        shutil.copytree(self.golden(stack) / "run", run)
        (run / "done.json").unlink()
        (run / "checkpoints" / "checkpoint").write_text(
            f'model_checkpoint_path: "step-{step}"\nall_model_checkpoint_paths: "step-{step}"\n'
        )
        for later in set(run.glob("checkpoints/step-*")) - set(run.glob(f"checkpoints/step-{step}.*")):
            later.unlink()
        return run

    def assertSameAnswers(self, found, expected, tolerance):
        self.assertEqual(set(found), set(expected))
        for name, value in expected.items():
            if np.issubdtype(value.dtype, np.floating):
                self.assertAllClose(found[name], value, atol=tolerance, rtol=tolerance, msg=name)
            else:
                self.assertAllEqual(found[name], value, name)

    @parameterized.parameters(*_STACKS)
    def test_every_signature_answers_as_on_the_stack_that_wrote_the_model(self, stack):
        expected = dict(np.load(self.golden(stack) / "answers.npz"))
        self.assertGreater(len({name.split("/")[0] for name in expected}), 5)
        self.assertSameAnswers(answers(self.golden(stack) / "served" / "1"), expected, 1e-5)

    @parameterized.parameters(*_STACKS)
    def test_an_export_is_loaded_by_the_package(self, stack):
        expected = np.load(self.golden(stack) / "answers.npz")
        paths = []
        for number, picture in enumerate(pictures()):
            paths.append(self.folder / f"{number}.png")
            paths[-1].write_bytes(picture)
        answer = Model(self.golden(stack) / "served" / "1").answer(paths)
        self.assertAllEqual(answer.class_names, expected["serving_default/class_name"])
        self.assertAllEqual(answer.valid, [True] * 5 + [False])

    @parameterized.parameters(*_STACKS)
    def test_a_run_goes_on_where_the_other_stack_left_it(self, stack):
        run = self.run_at(6, stack)
        pretrain(Hyperparameters(**SETTINGS), run, RunOptions(strategy="default"))
        self.assertEqual(json.loads((run / "done.json").read_text())["step"], 12)
        found, expected = (
            {name: tf.train.load_variable(str(folder / "checkpoints" / "step-12"), name) for name in names}
            for folder in (run, self.golden(stack) / "run")
            for names in [[name for name, _ in tf.train.list_variables(str(folder / "checkpoints" / "step-12"))]]
        )
        numbers = {name: value for name, value in expected.items() if isinstance(value, np.ndarray)}
        self.assertGreater(len(numbers), 20)
        self.assertSameAnswers({name: found[name] for name in numbers}, numbers, 1e-4)

    @parameterized.parameters(*_STACKS)
    def test_a_run_is_evaluated_and_exported_by_the_other_stack(self, stack):
        run = self.folder / "run"
        shutil.copytree(self.golden(stack) / "run", run)
        recorded = json.loads((run / "metrics.json").read_text())["accuracy"]
        found = evaluate(run)["accuracy"]
        for representation, accuracies in recorded.items():
            for evaluator, accuracy in accuracies.items():  # of 297 test images, two near a border
                self.assertAllClose(found[representation][evaluator], accuracy, atol=2.5 / 297)
        export(run, self.folder / "served" / "1")
        expected = np.load(self.golden(stack) / "answers.npz")
        answered = answers(self.folder / "served" / "1")
        self.assertAllClose(answered["embed_bytes/embedding"], expected["embed_bytes/embedding"], atol=1e-5)


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(pathlib.Path(sys.argv[2]))
    else:
        tf.test.main()
