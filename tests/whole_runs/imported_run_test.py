"""An official checkpoint, all the way: imported, pretrained from, evaluated, exported and served."""

import os
import pathlib
import pickle
from unittest import mock

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.evaluate import evaluate
from semppl.export.export_model import export
from semppl.export.import_checkpoint import import_checkpoint
from semppl.layers.inputs.preparation import inference_preparation
from semppl.runs import checkpoints
from semppl.tests import testing
from semppl.tests.data.pictures import write_two_classes
from semppl.tests.export.foreign import foreign_networks
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions

_SHARED = {"recipe": "cifar", "large_size": 32, "head_width": 16, "embedding_width": 8}
_RUN = {
    "encoder": "resnet18",
    "width": 0.125,
    "labels_per_class": 3,
    "test": "0.3",
    "large_views": 1,
    "small_views": 0,
    "negatives": 3,
    "batch_size": 8,
    "labelled_batch_size": 4,
    "queue_size": 16,
    "optimiser": "adamw",
    "learning_rate": 0.032,  # a peak of 1e-3: no weight moves further in a step
    "steps": 2,
    "warmup_steps": 0,
}


@testing.slow
class ImportedRunTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.folder / "user")}))
        write_two_classes(self.folder / "pictures")

    def test_an_official_checkpoint_is_imported_trained_from_evaluated_and_served(self):
        shapes = foreign_networks.official_shapes(channels=8, module="res_net18")
        tree = foreign_networks.official_tree(shapes)
        (self.folder / "official.pkl").write_bytes(pickle.dumps(tree, protocol=2))
        data = f"folder:{self.folder}/pictures?labels=folders"
        imported, run = self.folder / "imported", self.folder / "run"
        import_checkpoint(self.folder / "official.pkl", imported, data=data, **_SHARED)

        settings = Hyperparameters(data=data, initial_run=str(imported), **_SHARED, **_RUN)
        pretrain(settings, run, RunOptions(strategy="default"))
        _, network, step = checkpoints.load_online(run)
        self.assertEqual(step, 2)
        official = tree["experiment_state"]["online_params"]["res_net18/~/initial_conv"]["w"]
        self.assertBetween(np.abs(network.encoder.stem_convolutions[0].kernel - official).max(), 1e-5, 2.1e-3)

        metrics = evaluate(run)
        self.assertEqual(set(metrics["accuracy"]), {"features", "projections", "joint"})
        export(run, self.folder / "served" / "1")
        served = tf.saved_model.load(str(self.folder / "served" / "1")).signatures["embed_bytes"]
        picture = (self.folder / "pictures" / "light" / "1.png").read_bytes()
        expected = network.project(inference_preparation(32, centre_crop=1.0)(tf.io.decode_png(picture)[tf.newaxis]))
        self.assertAllClose(served(bytes=[picture])["embedding"], expected, atol=1e-5)


if __name__ == "__main__":
    tf.test.main()
