"""Tests of semppl.experiments.comparison.plan."""

import dataclasses
import itertools
import pathlib

from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.experiments.comparison import plan
from semppl.tests import testing, tiny  # noqa: F401  (testing parses the flags)
from semppl.trainers.methods import METHODS as TRAINED


def _shared(**changes):
    return Hyperparameters(**tiny.settings(**changes))


class MethodsTest(parameterized.TestCase):
    def test_baselines_differ_from_the_method_only_where_they_say(self):
        semppl = plan.METHODS["semppl"].settings
        self.assertEqual(semppl, {"train": "all", "method": "semppl"})
        without = plan.METHODS["no_semantic_positives"].settings
        self.assertEqual(
            without, semppl | {"semantic_weight": 0.0, "semantic_positives": 0, "same_class_negatives": True}
        )
        alone = plan.METHODS["supervised"].settings
        self.assertEqual(alone, semppl | {"method": "supervised", "labelled_batch_size": 0})
        heads = plan.METHODS["semppl_heads"].settings
        self.assertEqual(heads, semppl | {"train": "heads", "small_views": 0, "frozen_stages": 0})

    def test_every_method_that_can_be_trained_can_be_compared(self):
        rows = {name: row.settings["method"] for name, row in plan.METHODS.items() if name in TRAINED}
        self.assertEqual(rows, {name: name for name in TRAINED})
        self.assertEqual({row.settings["method"] for row in plan.METHODS.values()}, set(TRAINED))

    def test_titles_are_the_names_of_the_classes_with_a_space_where_the_method_has_two_words(self):
        titles = {name: plan.METHODS[name].title for name in ("barlow_twins", "byol", "semppl", "swav")}
        self.assertEqual(titles, {"barlow_twins": "Barlow Twins", "byol": "BYOL", "semppl": "SemPPL", "swav": "SwAV"})

    @parameterized.parameters(*plan.METHODS)
    def test_every_method_takes_settings_of_a_run_and_keeps_what_all_share(self, name):
        (run,) = plan.plan(_shared(), pathlib.Path("all"), methods=[name], seeds=[5])
        for setting in (
            "encoder",
            "width",
            "large_size",
            "recipe",
            "optimiser",
            "learning_rate",
            "steps",
            "data",
            "test",
        ):
            self.assertEqual(getattr(run.settings, setting), getattr(_shared(), setting), setting)

    def test_the_frozen_encoder_is_always_there_and_first(self):
        self.assertEqual(plan.check_methods(["semppl"]), ["frozen", "semppl"])
        self.assertEqual(plan.check_methods(["semppl", "frozen", "semppl"]), ["frozen", "semppl"])
        self.assertEqual(plan.check_methods([]), ["frozen"])
        (run,) = plan.plan(_shared(), pathlib.Path("all"), methods=["frozen"], seeds=[0])
        self.assertEqual(run.settings.train, "nothing")

    def test_an_unknown_method_is_named(self):
        with self.assertRaisesRegex(
            ValueError, "^--methods must be of frozen, .*semppl_heads. Received: sempl; did you mean semppl"
        ):
            plan.check_methods(["frozen", "sempl"])


class PlanTest(parameterized.TestCase):
    def test_it_has_every_combination_once_and_runs_of_a_seed_see_the_same_labels(self):
        methods, seeds, budgets = ["frozen", "semppl", "supervised"], [0, 7], [1, 4]
        runs = plan.plan(_shared(), pathlib.Path("all"), methods=methods, seeds=seeds, budgets=budgets)
        expected = [(seed, budget, method) for seed in seeds for budget in budgets for method in methods]
        self.assertEqual([(run.seed, run.labels_per_class, run.method) for run in runs], expected)
        self.assertLen({run.folder for run in runs}, len(expected))
        for run in runs:
            self.assertEqual((run.settings.seed, run.settings.label_seed), (run.seed, run.seed))
            self.assertEqual(run.settings.labels_per_class, run.labels_per_class)
        shown = next(run for run in runs if run.method == "semppl")
        self.assertEqual((shown.folder.as_posix(), shown.log.as_posix()), ("all/semppl-1-0", "all/semppl-1-0.log"))
        self.assertEqual(shown.title, "SemPPL, 1 label per class, seed 0")

    def test_a_run_is_finished_once_it_has_taken_its_last_step(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (run,) = plan.plan(_shared(), folder, methods=["semppl"], seeds=[0])
        self.assertFalse(run.finished)
        run.folder.mkdir()
        (run.folder / "done.json").touch()
        self.assertTrue(run.finished)

    def test_without_budgets_the_settings_choose_the_labels(self):
        shared = _shared(labels_per_class=0, label_fraction=0.1)
        (run,) = plan.plan(shared, pathlib.Path("all"), methods=["semppl"], seeds=[2])
        self.assertEqual((run.settings.labels_per_class, run.settings.label_fraction), (0, 0.1))
        self.assertEqual((run.folder.name, run.title), ("semppl-2", "SemPPL, seed 2"))

    def test_settings_that_do_not_suit_a_method_name_it(self):
        with self.assertRaisesRegex(
            ValueError, r"^--cached_views must be .*\(in the runs of --methods=semppl_heads\)$"
        ):
            plan.plan(_shared(cached_views=1), pathlib.Path("all"), methods=["semppl", "semppl_heads"], seeds=[0])


class OwnSettingsTest(absltest.TestCase):
    def test_a_setting_of_one_method_is_that_of_its_runs_alone(self):
        own = {"swav_prototypes": 64, "simclr_class_prior": 0.1}
        methods = ["frozen", "simclr", "swav", "semppl"]
        runs = plan.plan(_shared(), pathlib.Path("all"), methods=methods, seeds=[0, 1], own=own)
        self.assertEqual(
            [(run.settings.swav_prototypes, run.settings.simclr_class_prior) for run in runs],
            [(3000, 0.0), (3000, 0.1), (64, 0.0), (3000, 0.0)] * 2,
        )
        self.assertEqual(runs[2].changes, {"train": "all", "method": "swav", "swav_prototypes": 64})

    def test_a_setting_of_a_method_that_is_not_compared_is_refused(self):
        with self.assertRaisesRegex(
            ValueError, "^--swav_prototypes must come with swav among --methods. Received: 64$"
        ):
            plan.plan(_shared(), pathlib.Path("all"), methods=["semppl"], seeds=[0], own={"swav_prototypes": 64})

    def test_a_value_that_the_method_cannot_use_names_it(self):
        with self.assertRaisesRegex(ValueError, r"^--swav_epsilon must be .*\(in the runs of --methods=swav\)$"):
            plan.plan(_shared(), pathlib.Path("all"), methods=["swav"], seeds=[0], own={"swav_epsilon": -1.0})


class StepsTest(absltest.TestCase):
    def test_the_runs_of_one_method_may_be_longer(self):
        methods = ["frozen", "simclr", "semppl"]
        runs = plan.plan(_shared(steps=5), pathlib.Path("all"), methods=methods, seeds=[0, 1], steps={"simclr": 9})
        self.assertEqual([run.settings.steps for run in runs], [5, 9, 5] * 2)
        self.assertEqual(runs[1].changes, {"train": "all", "method": "simclr", "steps": 9})

    def test_a_method_that_takes_no_steps_or_none_at_all_is_refused(self):
        for steps, received in (({"frozen": 3}, "frozen"), ({"byol": 3}, "byol"), ({"semppl": 0}, "semppl:0")):
            with self.assertRaisesRegex(ValueError, f"^--method_steps must .*Received: {received}$"):
                plan.plan(_shared(), pathlib.Path("all"), methods=["frozen", "semppl"], seeds=[0], steps=steps)


class SameSettingsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path) / "new"

    def test_a_difference_is_refused_by_name(self):
        plan.require_same_settings(self.workdir, _shared())
        plan.require_same_settings(self.workdir, _shared())
        with self.assertRaisesRegex(
            ValueError, r"^--workdir must .*in --pixel_mean=\[0.3\] \(there: \[0.5\]\); --steps=30 \(there: 20\)$"
        ):
            plan.require_same_settings(self.workdir, _shared(steps=30, pixel_mean=(0.3,)))

    def test_seeds_labels_and_places_may_change(self):
        plan.require_same_settings(self.workdir, _shared())
        plan.require_same_settings(
            self.workdir, _shared(labels_per_class=4, seed=9, label_seed=1, cache_dir="elsewhere")
        )

    def test_a_run_that_has_begun_otherwise_is_refused_by_name(self):
        runs = plan.plan(_shared(), self.workdir, methods=["semppl", "supervised"], seeds=[0])
        plan.require_same_runs(runs)
        runs[1].folder.mkdir(parents=True)
        other = dataclasses.replace(runs[1].settings, learning_rate=0.5)
        (runs[1].folder / "hyperparameters.json").write_text(other.to_json())
        with self.assertRaisesRegex(ValueError, r"supervised-0, which differs in --learning_rate=16.0 \(there: 0.5\)$"):
            plan.require_same_runs(runs)
        (runs[1].folder / "hyperparameters.json").write_text(runs[1].settings.to_json())
        plan.require_same_runs(runs)
        longer = plan.plan(_shared(), self.workdir, methods=["supervised"], seeds=[0], steps={"supervised": 30})
        with self.assertRaisesRegex(ValueError, r"differs in --method_steps=supervised:30 \(there: 20\)$"):
            plan.require_same_runs(longer)


class RemainingTimeTest(absltest.TestCase):
    def test_it_is_the_time_so_far_by_the_work_that_is_left(self):
        # Done: 10 + 14 + 2 = 26 s of work in 13 s, two at a time. Left: 12 + 12 + 2 = 26 s of work.
        ended = {"semppl": [10.0, 14.0], "frozen": [2.0]}
        self.assertAlmostEqual(plan.remaining_seconds(13, ended, ["semppl", "semppl", "frozen"]), 13)
        self.assertAlmostEqual(plan.remaining_seconds(26, ended, ["frozen"]), 2)
        self.assertEqual(plan.remaining_seconds(13, ended, []), 0)

    def test_a_method_that_has_not_ended_counts_as_the_slowest(self):
        self.assertAlmostEqual(plan.remaining_seconds(8, {"frozen": [2.0], "semppl": [6.0]}, ["supervised"]), 6)

    def test_it_is_exact_for_a_loop_of_equal_speed(self):
        work = {"a": 3.0, "b": 5.0}
        order = list(itertools.islice(itertools.cycle("ab"), 10))
        elapsed, ended = 0.0, {}
        for at, method in enumerate(order):
            elapsed += work[method] * 1.5  # of which evaluation takes a third
            ended.setdefault(method, []).append(work[method])
            if len(ended) == 2:
                left = order[at + 1 :]
                expected = sum(1.5 * work[m] for m in left)
                self.assertAlmostEqual(plan.remaining_seconds(elapsed, ended, left), expected)


if __name__ == "__main__":
    absltest.main()
