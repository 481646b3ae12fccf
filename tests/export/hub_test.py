"""An exported model as a layer of somebody else's network: tensorflow-hub, in a process that knows nothing of this project."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from importlib import util

import tensorflow as tf

from semppl.export import export_model
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run

_HAS_HUB = util.find_spec("tensorflow_hub") is not None

_FINE_TUNE = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_hub as hub
from sklearn import datasets

images, labels = datasets.load_digits(return_X_y=True)
images = tf.constant(images[:128].reshape(-1, 8, 8, 1) / 16, tf.float32)
labels = tf.constant(labels[:128])
layer = hub.KerasLayer(sys.argv[1], trainable=True)
before = layer(images).numpy()
loaded = tf.saved_model.load(sys.argv[1]).signatures["embed_images"](images=images)["embedding"].numpy()
model = tf.keras.Sequential([tf.keras.Input([8, 8, 1]), layer, tf.keras.layers.Dense(10)])
weights = [variable.numpy() for variable in layer.trainable_variables]
others = [variable.numpy() for variable in layer.non_trainable_variables]
model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.optimizer.learning_rate = 0.01
losses = model.fit(images, labels, batch_size=32, epochs=5, verbose=0).history["loss"]
print(json.dumps({
    "semppl": any(name.split(".")[0] == "semppl" for name in sys.modules),
    "same": float(np.abs(before - loaded).max()),
    "trainable": len(weights),
    "moved": [float(np.abs(v.numpy() - w).max()) for v, w in zip(layer.trainable_variables, weights)],
    "others_moved": max([float(np.abs(v.numpy() - w).max()) for v, w in zip(layer.non_trainable_variables, others)], default=0.0),
    "losses": losses,
}))
"""


@unittest.skipUnless(_HAS_HUB, 'the extra "hub" is not installed')
class HubTest(tf.test.TestCase):
    @testing.slow
    def test_a_hub_layer_is_fine_tuned_its_weights_move_and_the_loss_falls(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        _, online = write_run(folder / "run")
        export_model.export(folder / "run", folder / "1")
        command = [sys.executable, "-c", _FINE_TUNE, str(folder / "1")]
        without_us = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        ran = subprocess.run(command, cwd=folder, env=without_us, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr[-2000:])
        report = json.loads(ran.stdout.splitlines()[-1])
        self.assertFalse(report["semppl"])
        self.assertLess(report["same"], 1e-5)
        self.assertEqual(
            report["trainable"], len(online.encoder.trainable_variables + online.projector.trainable_variables)
        )
        self.assertGreater(min(report["moved"]), 0)
        self.assertEqual(report["others_moved"], 0.0)  # batch norm keeps its statistics, and uses them
        self.assertLess(report["losses"][-1], 0.9 * report["losses"][0])


if __name__ == "__main__":
    tf.test.main()
