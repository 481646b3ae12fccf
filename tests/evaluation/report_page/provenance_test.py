"""Tests of semppl.evaluation.report_page.provenance."""

import datetime
import pathlib
import shlex
import tempfile

from absl import flags
from absl.testing import absltest

from semppl.configs.hyperparameters import Hyperparameters
from semppl.evaluation.report_page import provenance
from semppl.programs.setting_flags import define_flags, values_of_flags
from semppl.runs import training_time
from semppl.tests import testing, tiny  # noqa: F401  (testing marks the flags as parsed)


class ProvenanceTest(absltest.TestCase):
    def test_the_command_gives_the_same_settings(self):
        changes = {"data": "folder:a b?labels='x'.csv", "gradient_checkpointing": True, "pixel_mean": (0.25,)}
        settings = Hyperparameters(**tiny.settings(**changes))
        words = shlex.split(provenance.training_command("outputs/my run", settings))
        self.assertIn("--workdir=outputs/my run", words)
        values = flags.FlagValues()
        define_flags(Hyperparameters, flag_values=values)
        values(["program", *[word for word in words if word.startswith("--") and not word.startswith("--workdir=")]])
        self.assertEqual(Hyperparameters(**values_of_flags(Hyperparameters, values)), settings)

    def test_the_time_of_all_processes_is_added(self):
        workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        settings = Hyperparameters(**tiny.settings())
        self.assertIn("did not record", dict(provenance.provenance_rows(workdir, settings))["trained"])
        at = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        for step, minutes in ((0, 61), (7, 2)):
            training_time.record_start(workdir, step, "one CPU", at)
            training_time.record_end(workdir, step + 7, at + datetime.timedelta(minutes=minutes))
        training_time.record_start(workdir, 14, "one CPU", at)  # is killed
        rows = dict(provenance.provenance_rows(workdir, settings))
        self.assertIn("1 h 3 min, in 3 processes, beside 1 of unknown length", rows["trained"])
        self.assertEqual(rows["devices"], "one CPU")
        self.assertIn("tensorflow ", rows["versions in training"])
        self.assertIn("--seed=3", rows["seeds"])


if __name__ == "__main__":
    absltest.main()
