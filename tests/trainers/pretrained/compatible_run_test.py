"""Tests of training with --compatible_with, and of semppl.runs.compatible_run."""

import json
import pathlib
import re
import shutil

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.evaluation.neighbours.old_index import Embedded, old_index_accuracies
from semppl.programs.presets import read_preset
from semppl.runs import compatible_run
from semppl.runs.checkpoints import RunCheckpoints, load_online
from semppl.runs.folder import read_done
from semppl.tests import testing, tiny
from semppl.tests.export.random_runs import write_run
from semppl.trainers import pretrain
from semppl.trainers.methods import METHODS, find_method, settle

_CHANGES = {"moco": {"queue_size": 40}, "nnclr": {"queue_size": 40}, "swav": {"swav_prototypes": 5}}
_SIAMESE = sorted(
    name for name in METHODS if "compatible_with" in find_method(name).uses(Hyperparameters(labels_per_class=1))
)
_each_siamese = parameterized.named_parameters((f"_{name}", name) for name in _SIAMESE)
_OF_A_KIND = ("barlow_twins", "byol", "nnclr", "semppl")  # methods that make anchors or reports in different ways
_few_methods = parameterized.named_parameters((f"_{name}", name) for name in _OF_A_KIND)
_other_methods = parameterized.named_parameters((f"_{name}", name) for name in _SIAMESE if name not in _OF_A_KIND)


class CompatibleRunTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.old = self.folder / "old"

    def _settings(self, method="byol", **changes):
        compatible = {"small_views": 0, "compatible_with": str(self.old), "embedding_width": 8}
        return tiny.settings(method=method, **(_CHANGES.get(method, {}) | compatible | changes))

    def _model(self, settings, rate=0.05):
        model = pretrain.build_model(Hyperparameters(**settings), tiny.NUM_CLASSES, jit_compile=False)
        optimiser = tf.keras.optimizers.SGD(rate)
        optimiser.build(model.trained_variables())
        model.compile(optimizer=optimiser)
        return model

    def _batch(self, number, settings):
        return {name: tf.constant(value) for name, value in tiny.batch(number, settings).items()}

    @_few_methods
    def test_the_update_adds_the_slope_of_the_distance(self, name):
        self._assert_the_update_adds_the_slope(name)

    @_other_methods
    @testing.slow
    def test_the_update_adds_the_slope_of_the_distance_for_the_others(self, name):
        self._assert_the_update_adds_the_slope(name)

    def _assert_the_update_adds_the_slope(self, name):
        # At a weight of 1000 more, the update moves by the gradient of 1000 distances, which is their slope.
        testing.use_float64(self)
        write_run(self.old, embedding_width=5, queue=False)
        _, old, _ = load_online(self.old)

        def distance(model, batch):
            total = 0.0
            for view in batch["large"]:
                new = model.online.projector(model.online.features(view, training=True), training=True).numpy()[:, :5]
                for first, second in zip(new, old.project(view).numpy(), strict=True):
                    total += 1 - first @ second / np.linalg.norm(first) / np.linalg.norm(second)
            return total / len(batch["large"]) / len(batch["labels"])

        gradients = []
        for weight in (1.0, 1001.0):
            settings = self._settings(name, compatible_weight=weight)
            model, batch = self._model(settings, rate=1e-3), self._batch(0, settings)
            trained = [v for v in model.trained_variables() if "prototypes" not in v.name]
            before = [v.numpy() for v in trained]
            start = [v.numpy() for v in model.variables]
            report = model.train_step(batch)
            gradients.append([(b - v.numpy()) / 1e-3 for b, v in zip(before, trained, strict=True)])
            for variable, value in zip(model.variables, start, strict=True):
                variable.assign(value)
        self.assertAllClose(report["compatibility_distance"], distance(model, batch), rtol=1e-6)
        slopes = [(many - few) / 1000 for few, many in zip(*gradients, strict=True)]
        square = sum(np.sum(slope**2) for slope in slopes)
        self.assertGreater(square, 1e-8)
        ends = []
        for delta in (1e-5, -1e-5):
            for variable, value, slope in zip(trained, before, slopes, strict=True):
                variable.assign(value + delta / np.sqrt(square) * slope)
            ends.append(distance(model, batch))
        self.assertAllClose((ends[0] - ends[1]) / 2e-5, np.sqrt(square), rtol=1e-4)

    @_each_siamese
    @testing.slow
    def test_micro_batches_and_xla_change_nothing(self, name):
        for jit_compile, changes in ((False, {"accumulate_steps": 4, "norm": "group"}), (True, {})):
            self._assert_the_same_step(name, jit_compile, changes)

    def _assert_the_same_step(self, name, jit_compile, changes):
        if not self.old.exists():
            write_run(self.old, embedding_width=5, queue=False)
        settings = self._settings(name, negatives=3, norm=changes.get("norm", "batch"))
        one, other = self._model(settings), self._model(settings | changes)
        batch = self._batch(0, settings)
        expected = one.train_step(batch)
        report = tf.function(other.train_step, jit_compile=jit_compile, autograph=False)(batch)
        for key, value in expected.items():
            self.assertAllClose(report[key], value, rtol=5e-4, atol=1e-5, msg=key)
        for variable, value in zip(other.trained_variables(), one.trained_variables(), strict=True):
            self.assertAllClose(variable, value, rtol=1e-4, atol=1e-5, msg=variable.name)

    @testing.slow
    def test_new_queries_are_answered_from_an_old_index(self):
        source = load_source("digits")
        preset = read_preset("digits", Hyperparameters) | {"steps": 300, "labels_per_class": 10, "method": "simclr"}
        runs = {"old": {}, "new": {"compatible_with": str(self.old), "seed": 1}, "other": {"seed": 1}}
        embedded = {}
        for name, changes in runs.items():
            settings = settle(Hyperparameters(**preset | changes), given=(), workdir=self.folder / name)
            pretrain.pretrain(settings, self.folder / name)
            network = load_online(self.folder / name)[1]
            embedded[name] = Embedded(*(network.project(p.images).numpy() for p in (source.train, source.test)))
        accuracies = {
            name: old_index_accuracies(embedded["old"], embedded[name], source.train.labels, source.test.labels, k=1)
            for name in ("new", "other")
        }
        record = compatible_run.read_record(self.folder / "new")
        self.assertEqual(record["weights_sha256"], read_done(self.old)["weights_sha256"])
        self.assertIsNone(compatible_run.read_record(self.folder / "other"))
        across = [accuracies[name]["new queries, old index"] for name in ("new", "other")]
        self.assertGreater(across[0], accuracies["new"]["old queries, old index"] - 0.05)
        self.assertLess(across[1], 0.4)

    def test_two_replicas_report_the_distance_of_one(self):
        write_run(self.old, embedding_width=5, queue=False)
        settings = self._settings("simclr")
        reports = []
        for strategy in (testing.replicas(1), testing.replicas(2)):
            with strategy.scope():
                model = self._model(settings)
            step = tf.function(lambda batch, s=strategy, m=model: s.run(m.train_step, args=(batch,)), autograph=False)
            batch = tiny.distribute(tiny.batch(0, settings), strategy, settings["labelled_batch_size"])
            report = step(batch)
            reports.append(strategy.experimental_local_results(report["compatibility_distance"]))
            norms = strategy.experimental_local_results(report["gradient_norm"])
            reports[-1] = [*map(float, reports[-1]), *map(float, norms)]
        (distance, norm), several = reports
        self.assertAllClose(several, [distance] * 2 + [norm] * 2, rtol=1e-4)

    def test_a_checkpoint_does_not_hold_the_old_network_and_the_next_step_is_the_same(self):
        write_run(self.old, embedding_width=5, queue=False)
        settings = self._settings()
        model, workdir = self._model(settings), self.folder / "new"
        model.train_step(self._batch(0, settings))
        path = RunCheckpoints(model, workdir).save()
        plain = self._model(self._settings(compatible_with=""))
        self.assertLen(model.variables, len(plain.variables))
        names = [name for name, _ in tf.train.list_variables(path)]
        self.assertEmpty([name for name in names if "before" in name or "old" in name])
        restored = self._model(settings)
        RunCheckpoints(restored, workdir).restore()
        expected, report = (each.train_step(self._batch(1, settings)) for each in (model, restored))
        self.assertAllEqual([report[key] for key in expected], list(expected.values()))

    @parameterized.parameters(
        (
            {"embedding_width": 16},
            {},
            "--embedding_width must be at least that of --compatible_with={}, 16. Received: 8",
        ),
        ({"large_size": 16}, {}, "--large_size must be that of --compatible_with={}, 16. Received: 8"),
        (
            {"pixel_mean": (0.5,) * 3, "pixel_stddev": (0.5,) * 3},
            {},
            "--channels must be that of --compatible_with={}, 3. Received: 1",
        ),
    )
    def test_an_old_run_that_does_not_fit_is_refused(self, old, new, message):
        write_run(self.old, queue=False, **old)
        self._assert_refused(message.format(self.old), **new)

    def _assert_refused(self, message, **changes):
        with self.assertRaisesRegex(ValueError, f"^{re.escape(message)}"):
            compatible_run.check_compatible_run(Hyperparameters(**self._settings(**changes)), self.folder / "new")

    def test_a_run_without_projections_is_refused(self):
        write_run(self.old, queue=False, method="supervised")
        classifier = tf.train.Checkpoint(kernel=tf.Variable(tf.zeros([16, 3])), bias=tf.Variable(tf.zeros([3])))
        tf.train.CheckpointManager(
            tf.train.Checkpoint(model=tf.train.Checkpoint(classifier=classifier)),
            str(self.old / "checkpoints"),
            max_to_keep=1,
            checkpoint_name="step",
        ).save(checkpoint_number=8)
        self._assert_refused(
            f"--compatible_with must be a run with projections. Received: {self.old}, a run of supervised"
        )

    def test_a_folder_without_a_run_is_refused(self):
        self._assert_refused("--compatible_with must be the folder of a run")
        for load in (compatible_run.load_old_network, compatible_run.describe_run):
            with self.assertRaisesRegex(ValueError, "^--compatible_with must be the folder of a run"):
                load(str(self.old))

    def test_only_whole_networks_are_trained_to_be_compatible(self):
        with self.assertRaisesRegex(
            ValueError, "^--compatible_with must be empty with --train=heads. Received: .*old$"
        ):
            Hyperparameters(**self._settings(train="heads"))

    def test_a_run_goes_on_with_the_weights_that_it_began_with_alone(self):
        write_run(self.old, queue=False)
        settings = Hyperparameters(**self._settings())
        workdir = self.folder / "new"
        write_run(workdir, queue=False)
        compatible_run.write_record(workdir, compatible_run.describe_run(str(self.old)))
        record = json.loads((workdir / "compatible_with.json").read_text())
        self.assertEqual(record, compatible_run.read_record(workdir))
        self.assertEqual((record["run"], record["embedding_width"]), (str(self.old), 8))
        compatible_run.check_compatible_run(settings, workdir)
        shutil.rmtree(self.old)
        write_run(self.old, queue=False, seed=9)
        message = (
            f"^--compatible_with must be the run with weights {record['weights_sha256'][:12]}, as when .*new began"
        )
        with self.assertRaisesRegex(ValueError, message):
            compatible_run.check_compatible_run(settings, workdir)
        shutil.rmtree(workdir / "checkpoints")
        compatible_run.check_compatible_run(settings, workdir)  # nothing was trained, so the run begins anew


if __name__ == "__main__":
    tf.test.main()
