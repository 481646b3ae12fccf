"""Tests that runs and models of one stack are read by the other: tests/goldens/stacks has both stacks' (record.py)."""

import json
import pathlib
import shutil

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.evaluate import evaluate
from semppl.export.export_model import export
from semppl.export.loaded import Model
from semppl.tests import testing
from semppl.tests.stacks import record
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions

_STACKS = ("tf215", "tf221")


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
        self.assertSameAnswers(record.answers(self.golden(stack) / "served" / "1"), expected, 1e-5)

    @parameterized.parameters(*_STACKS)
    def test_an_export_is_loaded_by_the_package(self, stack):
        expected = np.load(self.golden(stack) / "answers.npz")
        paths = []
        for number, picture in enumerate(record.pictures()):
            paths.append(self.folder / f"{number}.png")
            paths[-1].write_bytes(picture)
        answer = Model(self.golden(stack) / "served" / "1").answer(paths)
        self.assertAllEqual(answer.class_names, expected["serving_default/class_name"])
        self.assertAllEqual(answer.valid, [True] * 5 + [False])

    @parameterized.parameters(*_STACKS)
    def test_a_run_goes_on_where_the_other_stack_left_it(self, stack):
        run = self.run_at(6, stack)
        pretrain(Hyperparameters(**record.SETTINGS), run, RunOptions(strategy="default"))
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
        self.assertAllClose(
            evaluate(run)["accuracy"], recorded, atol=2.5 / 297
        )  # of 297 test images, two near a border
        export(run, self.folder / "served" / "1")
        expected = np.load(self.golden(stack) / "answers.npz")
        found = record.answers(self.folder / "served" / "1")
        self.assertAllClose(found["embed_bytes/embedding"], expected["embed_bytes/embedding"], atol=1e-5)


if __name__ == "__main__":
    tf.test.main()
