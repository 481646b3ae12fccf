"""Tests of semppl.benchmarks.out_of_distribution."""

import pathlib

import numpy as np
import tensorflow as tf

from semppl.benchmarks import out_of_distribution
from semppl.data.sources import load_source
from semppl.export import export_model
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run


class OutOfDistributionTest(tf.test.TestCase):
    def test_files_are_test_images_of_the_data_set(self):
        decoded = [tf.io.decode_png(file).numpy() / 255 for file in out_of_distribution.picture_files("digits", 5)]
        images = load_source("digits").test.images
        for image in decoded:
            self.assertLess(np.abs(images - image).max((1, 2, 3)).min(), 1 / 255)

    @testing.slow
    def test_noise_scores_higher_than_digits(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        write_run(folder / "run")
        export_model.export(folder / "run", folder / "1")
        own = out_of_distribution.ask(str(folder / "1"), out_of_distribution.picture_files("digits", 150))
        noise = out_of_distribution.ask(str(folder / "1"), out_of_distribution.picture_files("noise", 150))
        self.assertEqual((own[0].shape, own[1].shape), ((150,), (150,)))
        self.assertBetween(np.mean(own[1] > 95), 0.0, 0.2)
        self.assertGreater(np.mean(noise[1]), np.mean(own[1]) + 10)


if __name__ == "__main__":
    tf.test.main()
