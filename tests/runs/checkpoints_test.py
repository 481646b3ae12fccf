"""Tests of semppl.runs.checkpoints."""

import dataclasses
import json
import os
import pathlib
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.runs import checkpoints, folder
from semppl.tests import testing, tiny
from semppl.trainers import pretrain


class _Model(tf.keras.Model):
    """A weight, a counter, and an optimiser with state of its own."""

    def __init__(self, size=3, labelled=True):
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=[size], initializer="ones")
        if labelled:
            self.labels = tf.Variable([1, 2], dtype=tf.int32, trainable=False)
        self.compile(tf.keras.optimizers.AdamW(0.1, jit_compile=False))
        self.optimizer.build([self.weight])

    def step(self):
        self.optimizer.apply_gradients([(tf.range(3.0) + 1.0, self.weight)])
        self.labels.assign_add([1, 1])


def _settings(**changes):
    return Hyperparameters(**tiny.settings(**changes))


class _Case(tf.test.TestCase, parameterized.TestCase):
    def folder(self):
        return pathlib.Path(self.create_tempdir().full_path)


class RunCheckpointsTest(_Case):
    def test_without_a_checkpoint_a_run_begins(self):
        self.assertEqual(checkpoints.RunCheckpoints(_Model(), self.folder()).restore(), 0)

    def test_everything_is_restored(self):
        workdir, model = self.folder(), _Model()
        for _ in range(5):
            model.step()
        saved = checkpoints.RunCheckpoints(model, workdir)
        self.assertEqual(pathlib.Path(saved.save()), workdir / "checkpoints" / "step-5")
        other = _Model()
        self.assertEqual(checkpoints.RunCheckpoints(other, workdir).restore(), 5)
        for here, there in zip(
            [*model.variables, *model.optimizer.variables], [*other.variables, *other.optimizer.variables], strict=True
        ):
            self.assertAllEqual(here, there)
        model.step()
        other.step()
        self.assertAllEqual(model.weight, other.weight)

    def test_the_step_is_read_over_replicas_too(self):
        with testing.two_replicas().scope():
            model = _Model()
        model.optimizer.iterations.assign(3)
        self.assertEqual(checkpoints.RunCheckpoints(model, self.folder()).step, 3)

    def test_two_checkpoints_are_kept(self):
        workdir, model = self.folder(), _Model()
        for _ in range(2):  # also by a process that goes on
            saved = checkpoints.RunCheckpoints(model, workdir)
            for _ in range(2):
                model.step()
                saved.save()
        names = {path.name.partition(".")[0] for path in (workdir / "checkpoints").iterdir()}
        self.assertEqual(names, {"checkpoint", "step-3", "step-4"})
        self.assertEqual(checkpoints.latest_checkpoint(workdir), str(workdir / "checkpoints" / "step-4"))

    def test_a_run_can_be_moved(self):
        workdir, model = self.folder(), _Model()
        model.step()
        checkpoints.RunCheckpoints(model, workdir / "here").save()
        (workdir / "here").rename(workdir / "there")
        self.assertEqual(checkpoints.RunCheckpoints(_Model(), workdir / "there").restore(), 1)

    def test_what_a_killed_save_left_is_removed_and_nothing_else(self):
        workdir, model = self.folder(), _Model()
        model.step()
        checkpoints.RunCheckpoints(model, workdir).save()
        before = sorted(path.name for path in (workdir / "checkpoints").iterdir())
        (workdir / "checkpoints" / "step-2_temp").mkdir()
        (workdir / "checkpoints" / "step-2_temp" / "part-00000-of-00001.index").touch()
        (workdir / "checkpoints" / "checkpoint.tmp12ab").touch()
        self.assertEqual(checkpoints.RunCheckpoints(_Model(), workdir).restore(), 1)
        self.assertEqual(sorted(path.name for path in (workdir / "checkpoints").iterdir()), before)

    def test_a_full_disk_leaves_the_checkpoint_before(self):
        workdir, model = self.folder(), _Model()
        saved = checkpoints.RunCheckpoints(model, workdir)
        model.step()
        saved.save()
        before = sorted(path.name for path in (workdir / "checkpoints").iterdir())
        model.step()

        def fill(checkpoint_number):
            (workdir / "checkpoints" / f"step-{checkpoint_number}.data-00000-of-00001").touch()
            raise tf.errors.ResourceExhaustedError(None, None, "/x; No space left on device")

        with mock.patch.object(saved.manager, "save", fill), self.assertRaisesRegex(folder.NotWritten, "room"):
            saved.save()
        self.assertEqual(sorted(path.name for path in (workdir / "checkpoints").iterdir()), before)
        self.assertEqual(checkpoints.RunCheckpoints(_Model(), workdir).restore(), 1)

    @parameterized.parameters("missing", "cut", "garbage", "another size", "another model")
    def test_a_checkpoint_that_cannot_be_read_is_named(self, damage):
        workdir, model = self.folder(), _Model()
        model.step()
        latest = checkpoints.RunCheckpoints(model, workdir).save()
        index = pathlib.Path(f"{latest}.index")
        if damage == "missing":
            index.unlink()
        elif damage == "cut":
            index.write_bytes(index.read_bytes()[:100])
        elif damage == "garbage":
            index.write_bytes(os.urandom(300))
        other = _Model(size=4 if damage == "another size" else 3, labelled=damage != "another model")
        with self.assertRaises(ValueError) as caught:
            checkpoints.RunCheckpoints(other, workdir).restore()
        expected = f"--workdir must hold a checkpoint that this release can read. Received: {latest} ("
        self.assertStartsWith(str(caught.exception), expected)
        self.assertNotIn("\n", str(caught.exception))


class ReadingTest(_Case):
    def _run(self, **changes):
        workdir, settings = self.folder(), _settings(**changes)
        model = pretrain.build_model(settings, tiny.NUM_CLASSES, jit_compile=False)
        model.optimizer.iterations.assign(7)
        with folder.open_run(workdir, settings):
            checkpoints.RunCheckpoints(model, workdir).save()
        return workdir, settings, model

    def test_the_online_network_is_read_without_the_rest(self):
        workdir, settings, model = self._run()
        read, network, step = checkpoints.load_online(workdir)
        self.assertEqual((read, step), (settings, 7))
        for here, there in zip(model.online.variables, network.variables, strict=True):
            self.assertAllEqual(here, there)
        images = tf.random.stateless_uniform([2, 8, 8, 1], seed=[0, 1])
        self.assertAllEqual(model.online.project(images), network.project(images))

    def test_a_checkpoint_of_another_network_is_named(self):
        workdir, settings, _ = self._run()
        (workdir / "hyperparameters.json").write_text(dataclasses.replace(settings, width=0.5).to_json())
        with self.assertRaises(ValueError) as caught:
            checkpoints.load_online(workdir)
        expected = (
            f"--workdir must hold a checkpoint that this release can read. Received: {workdir}/checkpoints/step-7 ("
        )
        self.assertStartsWith(str(caught.exception), expected)
        self.assertNotIn("\n", str(caught.exception))

    def test_a_classifier_is_read_where_there_is_one(self):
        workdir, _, _ = self._run()
        self.assertIsNone(checkpoints.load_classifier(workdir))
        workdir, _, model = self._run(method="supervised", labelled_batch_size=16, queue_size=16)
        kernel, bias = checkpoints.load_classifier(workdir)
        self.assertAllEqual(kernel, model.classifier.kernel)
        self.assertAllEqual(bias, model.classifier.bias)

    def test_a_folder_without_a_checkpoint_is_named(self):
        workdir = self.folder()
        with folder.open_run(workdir, _settings()):
            pass
        for read in (checkpoints.load_online, checkpoints.load_classifier, checkpoints.latest_checkpoint):
            with self.assertRaises(ValueError) as caught:
                read(workdir)
            expected = f"--workdir must hold a checkpoint. Received: {workdir}, which has none"
            self.assertEqual(str(caught.exception), expected)

    def test_a_folder_without_a_run_is_named(self):
        with self.assertRaisesRegex(ValueError, "^--workdir must be the folder of a run"):
            checkpoints.load_online(self.folder())


class DigestTest(_Case):
    def _digest(self, **values):
        path = tf.train.Checkpoint(**{name: tf.Variable(value) for name, value in values.items()}).save(
            str(self.folder() / "x")
        )
        return checkpoints.weights_sha256(path)

    def test_equal_variables_have_equal_digests(self):
        self.assertEqual(self._digest(a=[1.0, 2.0], b=3), self._digest(b=3, a=[1.0, 2.0]))

    def test_any_difference_is_another_digest(self):
        digests = {
            self._digest(a=[1.0, 2.0]),
            self._digest(a=[1.0, np.nextafter(np.float32(2), np.float32(3))]),
            self._digest(a=[2.0, 1.0]),
            self._digest(a=[[1.0, 2.0]]),
            self._digest(b=[1.0, 2.0]),
            self._digest(a=np.array([1, 2], np.float64)),
            self._digest(a=[0.0]),
            self._digest(a=[-0.0]),
        }
        self.assertLen(digests, 8)

    def test_how_often_was_saved_makes_no_difference(self):
        model, workdir = _Model(), self.folder()
        saved = checkpoints.RunCheckpoints(model, workdir)
        first = checkpoints.weights_sha256(saved.save())
        self.assertEqual(checkpoints.weights_sha256(saved.save()), first)
        model.step()
        self.assertNotEqual(checkpoints.weights_sha256(saved.save()), first)

    def test_a_finished_run_names_its_step_and_digest(self):
        workdir = self.folder()
        digest = checkpoints.weights_sha256(checkpoints.RunCheckpoints(_Model(), workdir).save())
        folder.write_done(workdir, 7, digest)
        done = json.loads((workdir / "done.json").read_text())
        self.assertEqual(done, {"step": 7, "weights_sha256": digest})
        self.assertRegex(digest, "^[0-9a-f]{64}$")


if __name__ == "__main__":
    tf.test.main()
