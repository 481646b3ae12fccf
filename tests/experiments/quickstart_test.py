"""The quickstart, with a tiny preset in place of the real one."""

import contextlib
import dataclasses
import io
import json
import pathlib

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.experiments import quickstart
from semppl.tests import testing
from semppl.trainers.methods import settle

TINY = """
--data=digits
--labels_per_class=1
--recipe=identity
--large_views=2
--small_views=0
--large_size=8
--encoder=convnet
--width=0.125
--head_width=16
--embedding_width=8
--pixel_mean=0.3
--pixel_stddev=0.4
--batch_size=32
--labelled_batch_size=8
--queue_size=32
--steps=2
--warmup_steps=0
--optimiser=adamw
--learning_rate=0.001
"""


class QuickstartTest(tf.test.TestCase):
    def test_a_run_is_judged_by_its_classifier_or_else_by_its_projections(self):
        supervised = {"features": {"nearest_neighbours": 0.1}, "classifier": {"own": 0.7}}
        contrastive = {"features": {"nearest_neighbours": 0.1}, "projections": {"nearest_neighbours": 0.8}}
        self.assertEqual(quickstart.headline(supervised), 0.7)
        self.assertEqual(quickstart.headline(contrastive), 0.8)

    def test_the_training_program_accepts_the_settings_of_every_run(self):
        # They arrive there as flags, all of them given; a setting of the preset that a method does not use would be refused.
        runs = quickstart._plan(pathlib.Path(self.create_tempdir().full_path), [0])
        self.assertEqual([run.method for run in runs], list(quickstart.METHODS))
        given = [field.name for field in dataclasses.fields(Hyperparameters)]
        for run in runs:
            settled = settle(run.settings, given=given, workdir=run.folder)  # raises ValueError where it is not
            self.assertEqual((settled.method, settled.steps), (run.settings.method, run.settings.steps))

    @testing.slow
    def test_the_whole_way_ends_in_a_table_a_summary_and_an_embedding(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        preset = folder / "tiny.flags"
        preset.write_text(TINY)
        with (
            tf.compat.v1.test.mock.patch.object(quickstart, "PRESET", preset),
            contextlib.redirect_stdout(io.StringIO()) as output,
        ):
            summary = quickstart.quickstart(folder / "runs", [0, 1])
        written = json.loads((folder / "runs" / "summary.json").read_text())
        self.assertEqual({name: written[name] for name in summary}, summary)
        self.assertEqual(set(summary), {"raw_pixels", "supervised", "no_semantic_positives", "semppl", "seconds"})
        for name in ("raw_pixels", "supervised", "no_semantic_positives", "semppl"):
            self.assertBetween(summary[name], 0.0, 1.0)
            self.assertAlmostEqual(summary[name], np.mean(written["per_seed"][name]))
        for part in ("raw pixels", "labels alone", "α = 0", "SemPPL", "8 numbers", "tensorboard --logdir"):
            self.assertIn(part, output.getvalue())


if __name__ == "__main__":
    tf.test.main()
