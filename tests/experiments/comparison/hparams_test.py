"""Tests of semppl.experiments.comparison.hparams, whose event files are read as TensorBoard reads them."""

import pathlib

import tensorflow as tf
from absl.testing import absltest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from semppl.configs.hyperparameters import Hyperparameters
from semppl.experiments.comparison import hparams, plan, results
from semppl.tests import testing, tiny  # noqa: F401  (testing parses the flags)
from semppl.tests.experiments.comparison import known_runs


def _read(folder):
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    plugin = events.summary_metadata
    parsed = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(data.plugin_data.content)
        for tag, data in plugin.items()
        if data.plugin_data.plugin_name == "hparams"
    }
    scalars = {
        tag: [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag, data in plugin.items()
        if data.plugin_data.plugin_name == "scalars"
    }
    return parsed, scalars


class HParamsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path)
        self.runs = plan.plan(
            Hyperparameters(**tiny.settings()),
            self.workdir,
            methods=["frozen", "supervised", "swav"],
            seeds=[0, 1],
            budgets=[1],
            own={"swav_prototypes": 64},
        )
        self.judged = {}
        for run in self.runs:
            representation = known_runs.REPRESENTATIONS.get(run.method, "projections")
            measures = known_runs.measures(0.5 + 0.1 * run.seed, representation)
            self.judged[run] = results.Result(run.method, run.labels_per_class, run.seed, measures)

    def test_every_run_has_its_settings_and_the_accuracies_of_its_rows(self):
        hparams.write_hparams(self.workdir, self.judged)
        folders = {path.name for path in (self.workdir / "hparams").iterdir() if path.is_dir()}
        self.assertEqual(folders, {run.folder.name for run in self.runs})
        parsed, scalars = _read(self.workdir / "hparams" / "swav-1-1")
        start = parsed["_hparams_/session_start_info"].session_start_info
        self.assertEqual(start.hparams["method"].string_value, "swav")
        numbers = {name: start.hparams[name].number_value for name in ("labels_per_class", "seed", "swav_prototypes")}
        self.assertEqual(numbers, {"labels_per_class": 1, "seed": 1, "swav_prototypes": 64})
        for at, classifier in enumerate(known_runs.CLASSIFIERS):
            ((step, value),) = scalars[f"accuracy/{classifier}"]
            self.assertEqual(step, 20)
            self.assertAlmostEqual(value, 0.6 + 0.01 * at, places=6)
        parsed, scalars = _read(self.workdir / "hparams" / "supervised-1-0")
        self.assertNotIn("swav_prototypes", parsed["_hparams_/session_start_info"].session_start_info.hparams)
        self.assertEqual(list(scalars), ["accuracy/own"])

    def test_the_dashboard_knows_the_columns_and_their_values(self):
        hparams.write_hparams(self.workdir, self.judged)
        experiment = _read(self.workdir / "hparams")[0]["_hparams_/experiment"].experiment
        columns = {info.name: list(info.domain_discrete) for info in experiment.hparam_infos}
        self.assertEqual(list(columns), ["method", "labels_per_class", "seed", "swav_prototypes"])
        self.assertEqual(columns["method"], ["frozen", "supervised", "swav"])
        self.assertEqual(columns["seed"], [0, 1])
        self.assertEqual(
            [(info.name.tag, info.display_name) for info in experiment.metric_infos][3:],
            [("accuracy/own", "accuracy, its own classifier")],
        )

    def test_a_second_call_replaces_the_first(self):
        hparams.write_hparams(self.workdir, self.judged)
        hparams.write_hparams(self.workdir, {run: self.judged[run] for run in self.runs[:2]})
        files = [path for path in (self.workdir / "hparams").rglob("*") if path.is_file()]
        self.assertLen(files, 1 + 2)


if __name__ == "__main__":
    absltest.main()
