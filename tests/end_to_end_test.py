"""The whole way on real digits: train a few steps, evaluate, export, and embed in a process without this project."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.data.streaming import decode_picture
from semppl.evaluation.evaluate import evaluate
from semppl.export.export_model import export
from semppl.layers.inputs.preparation import inference_preparation
from semppl.runs import checkpoints
from semppl.tests import testing
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions

SETTINGS = {
    "labels_per_class": 2,
    "recipe": "digits",
    "large_views": 2,
    "small_views": 1,
    "large_size": 8,
    "small_size": 8,
    "encoder": "convnet",
    "width": 0.25,
    "head_width": 32,
    "embedding_width": 16,
    "pixel_mean": (0.3,),
    "pixel_stddev": (0.38,),
    "semantic_weight": 1.0,
    "invariance_weight": 0.1,
    "batch_size": 64,
    "labelled_batch_size": 16,
    "queue_size": 256,
    "steps": 12,
    "optimiser": "adamw",
    "learning_rate": 0.008,
    "warmup_steps": 2,
}

EMBED = """
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2], allow_pickle=False)
images = model.signatures["embed_images"](images=tf.constant(data["images"]))["embedding"]
pictures = model.signatures["embed_bytes"](bytes=[tf.io.read_file(path) for path in sys.argv[4:]])["embedding"]
answer = model.signatures["serving_default"](bytes=[tf.io.read_file(path) for path in sys.argv[4:]])
assert not [name for name in sys.modules if name.split(".")[0] == "semppl"]
np.savez(sys.argv[3], images=images, pictures=pictures, default=answer["embedding"], label=answer["label"])
"""


class EndToEndTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def run_folder(self, **changes):
        workdir = self.folder / "run"
        pretrain(Hyperparameters(**{**SETTINGS, **changes}), workdir, RunOptions(strategy="default"))
        return workdir

    def embed_elsewhere(self, served, images, pictures):
        paths = []
        for number, (kind, pixels) in enumerate(pictures):
            encoded = tf.io.encode_png(pixels) if kind == "png" else tf.io.encode_jpeg(pixels, quality=100)
            path = self.folder / f"{number}.{kind}"
            path.write_bytes(encoded.numpy())
            paths.append(str(path))
        np.savez(self.folder / "in.npz", images=images)
        command = [
            sys.executable,
            "-c",
            EMBED,
            str(served),
            str(self.folder / "in.npz"),
            str(self.folder / "out.npz"),
        ]
        subprocess.run([*command, *paths], check=True, cwd=self.folder, capture_output=True)
        return np.load(self.folder / "out.npz")

    def test_a_run_is_evaluated_exported_and_served_without_this_project(self):
        workdir = self.run_folder()
        done = json.loads((workdir / "done.json").read_text())
        self.assertEqual(done["step"], 12)
        metrics = evaluate(workdir)["accuracy"]
        self.assertEqual(set(metrics), {"raw_pixels", "features", "projections", "joint"})
        self.assertEqual(json.loads((workdir / "metrics.json").read_text())["accuracy"], metrics)

        export(workdir, self.folder / "served" / "1")
        source = load_source("digits")
        images = source.test.images[:5]
        whole = np.round(images * 255).astype(np.uint8)
        large = tf.cast(tf.image.resize(whole[:1], [37, 23]), tf.uint8)[0].numpy()
        pictures = [("png", whole[0]), ("png", whole[1]), ("jpeg", large)]
        answer = self.embed_elsewhere(self.folder / "served" / "1", images, pictures)

        _, network, _ = checkpoints.load_online(workdir)
        expected = network.project(inference_preparation(8, centre_crop=1.0)(images))
        self.assertAllClose(answer["images"], expected, atol=1e-5)
        self.assertAllClose(np.linalg.norm(answer["pictures"], axis=-1), np.ones(3), atol=1e-5)
        self.assertAllClose(answer["pictures"][:2], network.project(whole[:2] / np.float32(255)), atol=1e-5)
        decoded = decode_picture(tf.constant((self.folder / "2.jpeg").read_bytes()), 1)[tf.newaxis]
        self.assertAllClose(
            answer["pictures"][2:], network.project(inference_preparation(8, centre_crop=1.0)(decoded)), atol=1e-5
        )
        self.assertAllEqual(answer["default"], answer["pictures"])
        self.assertAllEqual((answer["label"] >= 0) & (answer["label"] < 10), [True] * 3)

    @testing.slow
    def test_features_can_be_served_instead_of_projections(self):
        workdir = self.run_folder(steps=2, warmup_steps=0)
        export(workdir, self.folder / "served" / "3", embedding="features")
        images = load_source("digits").test.images[:4]
        answer = tf.saved_model.load(str(self.folder / "served" / "3")).signatures["embed_images"](
            images=tf.constant(images)
        )
        _, network, _ = checkpoints.load_online(workdir)
        features = network.features(images).numpy()
        expected = features / np.linalg.norm(features, axis=-1, keepdims=True)
        self.assertAllClose(answer["embedding"], expected, atol=1e-5)

    @testing.slow
    def test_a_run_in_bfloat16_is_restored_evaluated_and_served_in_float32(self):
        workdir = self.run_folder(precision="bfloat16", steps=3, warmup_steps=0)
        reader = tf.train.load_checkpoint(checkpoints.latest_checkpoint(workdir))
        self.assertNotIn(tf.bfloat16, reader.get_variable_to_dtype_map().values())
        _, network, _ = checkpoints.load_online(workdir)
        self.assertEqual(network.encoder.compute_dtype, "float32")
        evaluate(workdir)
        export(workdir, self.folder / "served" / "1")
        images = load_source("digits").test.images[:4]
        served = tf.saved_model.load(str(self.folder / "served" / "1")).signatures["embed_images"]
        self.assertAllClose(served(images=tf.constant(images))["embedding"], network.project(images), atol=1e-5)

    @testing.slow
    def test_the_supervised_baseline_is_evaluated_by_its_own_classifier(self):
        metrics = evaluate(self.run_folder(method="supervised", labelled_batch_size=0))["accuracy"]
        self.assertEqual(set(metrics), {"raw_pixels", "features", "classifier"})
        self.assertBetween(metrics["classifier"]["own"], 0.0, 1.0)

    def test_export_refuses_what_a_server_would_trip_over(self):
        workdir = self.run_folder(steps=1, warmup_steps=0)
        with self.assertRaisesRegex(ValueError, "--export_dir must end in a version number.*Received: .*model"):
            export(workdir, self.folder / "served" / "model")
        with self.assertRaisesRegex(
            ValueError, "--embedding must be one of projections, features, joint. Received: logits"
        ):
            export(workdir, self.folder / "served" / "1", embedding="logits")
        export(workdir, self.folder / "served" / "1")
        with self.assertRaisesRegex(ValueError, "--export_dir must be a new folder"):
            export(workdir, self.folder / "served" / "1")
        with self.assertRaisesRegex(ValueError, "--workdir must be the folder of a run"):
            export(self.folder / "nothing", self.folder / "served" / "2")
        self.assertEqual([path.name for path in (self.folder / "served").iterdir()], ["1"])


if __name__ == "__main__":
    assert testing
    tf.test.main()
