"""Tests of semppl.experiments.frozen."""

import contextlib
import io
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import tensorflow as tf
from absl.testing import flagsaver

import semppl
from semppl.data.label_split import visible_labels
from semppl.data.sources import NO_LABEL, load_source
from semppl.experiments import frozen
from semppl.export.memory.evidence import Evidence
from semppl.export.update_memory import update_memory
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags
from semppl.runs import checkpoints
from semppl.tests import testing, tiny

_WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None  # importing it fails
runpy.run_module("semppl.experiments.frozen", run_name="__main__", alter_sys=True)
"""


class FrozenTest(tf.test.TestCase):
    def _main(self, workdir, export_dir, **values):
        changes = tiny.settings(recipe="digits", labels_per_class=5, small_views=0) | values
        names = ("labels_per_class", "recipe", "large_size", "encoder", "width", "pixel_mean", "pixel_stddev")
        given = {name: changes[name] for name in (*names, "large_views", "small_views", *values)}
        given = {name: [str(v) for v in value] if isinstance(value, tuple) else value for name, value in given.items()}
        with (
            flagsaver.flagsaver(data="digits", workdir=str(workdir), export_dir=str(export_dir), **given),
            contextlib.redirect_stdout(io.StringIO()) as output,
        ):
            self.assertEqual(frozen.main([]), 0)
        return output.getvalue()

    def test_a_version_that_exists_is_refused_before_the_run(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "served" / "1").mkdir(parents=True)
        with flagsaver.flagsaver(data="digits", labels_per_class=5, pixel_mean=["0.5"], pixel_stddev=["0.5"]):
            settings = hyperparameters_from_flags()
        with self.assertRaisesRegex(ValueError, "^--export_dir must be a new folder; .*served/1$"):
            frozen.frozen(settings, folder / "run", folder / "served" / "1", {})
        self.assertFalse((folder / "run").exists())

    def test_the_help_shows_the_defaults_of_this_program_and_no_flag_of_training(self):
        command = [sys.executable, "-c", _WITHOUT_TENSORFLOW]
        root = pathlib.Path(semppl.__file__).parents[1]
        shown = subprocess.run([*command, "--help"], cwd=root, stdout=subprocess.PIPE, text=True).stdout
        of_flag = dict(re.findall(r"\n  --(?:\[no\])?(\w+):.*?\(default: '?(\w+)", shown, re.DOTALL))
        self.assertEqual((of_flag["embedding"], of_flag["answers"]), ("features", "auto"))
        self.assertNotIn("target_decay", shown)
        refused = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, text=True)
        self.assertEqual(refused.returncode, 2)
        self.assertRegex(refused.stderr, r"^error: --\w+ must [^.]*\. Received: none\n$")
        mistyped = subprocess.run([*command, "--embeding=joint"], cwd=root, stderr=subprocess.PIPE, text=True)
        self.assertEqual(mistyped.returncode, 2)
        self.assertIn(" Received: --embeding; did you mean embedding", mistyped.stderr)

    def test_an_encoder_and_labelled_images_become_a_calibrated_answer(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        output = self._main(folder / "run", folder / "served" / "1")
        self.assertIn("no steps: nothing is trained", output)
        self.assertRegex(output, r"\nremembers 50 images of 10 classes.* on 148 test images \(.*\): accuracy 0\.")
        self.assertEqual(json.loads((folder / "run" / "done.json").read_text())["step"], 0)
        settings, network, step = checkpoints.load_online(folder / "run")
        self.assertEqual((step, settings.steps), (0, 0))
        source = load_source("digits")
        labels = visible_labels(source.train, labels_per_class=5, seed=settings.label_seed)
        evidence = Evidence.load(folder / "served" / "1" / "assets.extra" / "evidence.npz")
        features = network.features(source.train.images[labels != NO_LABEL]).numpy()
        directions = features / np.linalg.norm(features, axis=1, keepdims=True)
        self.assertAllClose(evidence.memory.embeddings, directions, atol=1e-5)
        self.assertAllEqual(evidence.memory.labels, labels[labels != NO_LABEL])
        signatures = tf.saved_model.load(str(folder / "served" / "1")).signatures
        picture = tf.io.encode_png(np.round(source.test.images[0] * 255).astype(np.uint8)).numpy()
        answer = signatures["serving_default"](bytes=tf.constant([picture]))
        memory, _ = evidence.build()
        expected = memory.classify(answer["embedding"])
        self.assertAllClose(answer["probability"], expected["probability"], atol=1e-5)
        self.assertGreater(answer["ood"].numpy()[0], -1)
        for name in ("classify_embeddings", "neighbours"):
            self.assertEqual(len(next(iter(signatures[name](embedding=answer["embedding"]).values()))), 1)
        (folder / "0.png").write_bytes(picture)
        (folder / "new.csv").write_text("path,label\n0.png,stripes\n")
        card = update_memory(folder / "served" / "1", folder / "new.csv", folder / "served" / "2")
        self.assertEqual((card["memory"]["labelled"], card["memory"]["classes"]), (51, 11))

    def test_every_image_may_have_a_label(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        output = self._main(folder / "run", folder / "1", labels_per_class=0, label_fraction=1.0, answers="class_means")
        self.assertRegex(output, r"\nremembers 1,500 images of 10 classes")

    @testing.slow
    def test_flags_of_the_export_win_and_the_run_is_made_once(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        self._main(folder / "run", folder / "1", answers="vote", fine_tunable=False)
        digest = json.loads((folder / "run" / "done.json").read_text())
        self._main(folder / "run", folder / "2", answers="class_means", embedding="projections", fine_tunable=False)
        self.assertEqual(json.loads((folder / "run" / "done.json").read_text()), digest)
        for version, answers, width in (("1", "vote", 16), ("2", "class_means", 8)):
            card = json.loads((folder / version / "assets" / "model_card.json").read_text())
            self.assertEqual((card["memory"]["answers"], card["embedding"]["width"]), (answers, width))
            self.assertStartsWith(card["command"], "python -m semppl.experiments.frozen")


if __name__ == "__main__":
    tf.test.main()
