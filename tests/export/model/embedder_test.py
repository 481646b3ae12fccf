"""Tests of semppl.export.model.embedder: what it refuses."""

import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.model.embedder import Embedder
from semppl.layers.networks import OnlineNetwork
from semppl.tests import testing, tiny


class EmbedderTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(2, 4)
    def test_images_that_no_picture_file_holds_are_refused_by_name(self, channels):
        settings = tiny.settings(pixel_mean=(0.5,) * channels, pixel_stddev=(0.25,) * channels)
        hyperparameters = Hyperparameters(**settings)
        network = OnlineNetwork(**hyperparameters.network)
        with self.assertRaisesRegex(ValueError, f"^--channels must be 1 or 3 to export: .* Received: {channels}$"):
            Embedder(network, hyperparameters, embedding="features", centre_crop=1.0)


if __name__ == "__main__":
    assert testing
    tf.test.main()
