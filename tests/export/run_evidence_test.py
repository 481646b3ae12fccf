"""Tests of semppl.export.run_evidence."""

import pathlib

import numpy as np
import tensorflow as tf

from semppl.data.label_split import visible_labels
from semppl.data.sources import NO_LABEL, load_source
from semppl.export import run_evidence
from semppl.export.evidence import Trust
from semppl.layers.preprocessing import test_view
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run


class ReadEvidenceTest(tf.test.TestCase):
    def _read(self, **changes):
        settings, network = write_run(pathlib.Path(self.create_tempdir().full_path), **changes)
        prepare = test_view(settings.recipe, settings.large_size)
        return run_evidence.read_evidence(settings, network.project, prepare, Trust()), settings, network

    def test_the_memory_is_the_labelled_images_and_no_other(self):
        evidence, settings, network = self._read(labels_per_class=3)
        train = load_source("digits").train
        visible = visible_labels(train, labels_per_class=3, seed=settings.label_seed)
        self.assertAllEqual(evidence.memory.ids, np.flatnonzero(visible != NO_LABEL))
        self.assertAllEqual(evidence.memory.labels, visible[visible != NO_LABEL])
        expected = network.project(train.images[evidence.memory.ids])
        self.assertAllClose(evidence.memory.embeddings, expected, atol=1e-5)
        self.assertEqual(evidence.class_names, tuple("0123456789"))
        self.assertEqual(evidence.temperature, settings.temperature)

    def test_test_images_are_held_out_and_never_taken_for_training_images(self):
        evidence, _, network = self._read()
        test = load_source("digits").test
        self.assertAllClose(evidence.held_out.embeddings, network.project(test.images), atol=1e-5)
        self.assertAllEqual(evidence.held_out.labels, test.labels)
        self.assertAllEqual(np.unique(evidence.held_out.ids), [-1])

    def test_the_reference_is_of_unlabelled_images_where_there_are_any(self):
        evidence, _, network = self._read()
        self.assertLen(evidence.reference, 1480)
        self.assertEmpty(set(evidence.reference.ids) & set(evidence.memory.ids))
        images = load_source("digits").train.images[evidence.reference.ids[:9]]
        self.assertAllClose(evidence.reference.embeddings[:9], network.project(images), atol=1e-5)

    def test_where_every_image_has_a_label_the_memory_is_the_reference(self):
        evidence, _, _ = self._read(labels_per_class=0, label_fraction=1.0)
        self.assertAllEqual(evidence.reference.ids, evidence.memory.ids)

    def test_samples_are_as_large_as_they_may_be_and_the_same_every_time(self):
        with (
            tf.compat.v1.test.mock.patch.object(run_evidence, "_MAX_HELD_OUT", 30),
            tf.compat.v1.test.mock.patch.object(run_evidence, "_MAX_REFERENCE", 20),
        ):
            first, second = self._read()[0], self._read()[0]
        self.assertEqual((len(first.held_out), len(first.reference)), (30, 20))
        self.assertAllEqual(first.reference.ids, second.reference.ids)
        self.assertAllEqual(first.held_out.embeddings, second.held_out.embeddings)


if __name__ == "__main__":
    tf.test.main()
