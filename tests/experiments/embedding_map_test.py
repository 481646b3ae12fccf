"""The map of embeddings: which points it holds, and what it writes."""

import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from semppl.experiments import embedding_map
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


def _clusters():
    """Returns embeddings `[30, 8]` of three classes, each near an axis of its own, and their labels."""
    labels = np.repeat(np.arange(3), 10)
    noise = np.random.default_rng(0).normal(scale=0.05, size=(30, 8))
    return np.eye(8)[labels] + noise, labels


class EmbeddingMapTest(tf.test.TestCase):
    def test_images_of_a_class_lie_nearer_to_each_other_than_to_other_classes(self):
        embeddings, labels = _clusters()
        points = embedding_map.plane(embeddings)
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(30)
        self.assertAllEqual(labels[np.argmin(distances, -1)], labels)

    def test_a_map_is_the_same_twice(self):
        embeddings, _ = _clusters()
        self.assertAllEqual(embedding_map.plane(embeddings), embedding_map.plane(embeddings))

    def test_a_picture_of_two_maps_is_written_and_its_folder_made(self):
        embeddings, labels = _clusters()
        path = pathlib.Path(self.create_tempdir().full_path) / "images" / "map.png"
        embedding_map.draw(embeddings[::-1], embeddings, labels, path)
        with Image.open(path) as picture:
            self.assertGreater(picture.width, picture.height)
            self.assertGreater(len(set(picture.convert("RGB").getdata())), 3)  # the white, and a colour a class


if __name__ == "__main__":
    tf.test.main()
