"""Tests of semppl.experiments.compare, with a stand-in for the training program; and a whole one, tiny."""

import contextlib
import csv
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import time
from unittest import mock

from absl.testing import absltest, parameterized

import semppl
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import OF_METHODS
from semppl.experiments import compare
from semppl.experiments.comparison import plan, preparation, results, trainings
from semppl.runs import folder
from semppl.tests import testing, tiny
from semppl.tests.experiments.comparison import known_runs

ROOT = pathlib.Path(semppl.__file__).resolve().parents[1]

# Takes a step a call, notes it, and is done after the steps of its run; fails while a file says so.
_TRAINING = """
import json, pathlib, sys
from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs.presets import read_preset
values = [argument for argument in sys.argv[1:] if not argument.startswith("--workdir=")]
workdir = pathlib.Path(sys.argv[-1].removeprefix("--workdir="))
workdir.mkdir(parents=True, exist_ok=True)
(workdir / "flags").write_text("\\n".join(values))
settings = Hyperparameters(**read_preset(workdir / "flags", Hyperparameters))
(workdir / "hyperparameters.json").write_text(settings.to_json())
with (workdir.parent / "steps").open("a") as file:
    file.write(workdir.name + "\\n")
if (workdir.parent / f"fail-{workdir.name}").exists():
    sys.exit("error: this run fails")
(workdir / "done.json").write_text(json.dumps({"step": settings.steps, "weights_sha256": workdir.name}))
"""


def _request(**changes):
    shared = Hyperparameters(
        **tiny.settings(data="digits", recipe="digits", small_views=0, labels_per_class=1, queue_size=32)
    )
    values = {"shared": shared, "methods": ["frozen", "semppl"], "budgets": [1, 2], "seeds": [0, 1]}
    return compare.Request(**(values | changes))


class CompareTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path) / "all"
        program = (sys.executable, "-c", _TRAINING)
        self.enter_context(mock.patch.object(trainings, "PROGRAM", program))
        self.enter_context(mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}))
        self.evaluate = self.enter_context(mock.patch.object(results, "measure_rows", side_effect=self._measures))

    def _measures(self, workdir, *_, **__):
        method, budget, seed = workdir.name.rsplit("-", 2)
        value = (
            {"frozen": 0.3, "semppl": 0.6, "supervised": 0.4}.get(method, 0.5) + 0.01 * int(budget) + 0.002 * int(seed)
        )
        return known_runs.measures(value, known_runs.REPRESENTATIONS.get(method, "projections"))

    def _compare(self, request, **settings):
        with (
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            failed = compare.compare(request, self.workdir, **settings)
        return failed, output.getvalue(), errors.getvalue()

    def _trained(self):
        return sorted((self.workdir / "steps").read_text().split())

    def test_all_runs_are_trained_evaluated_and_shown(self):
        failed, output, _ = self._compare(_request(), command="semppl-compare --x")
        expected = [f"{m}-{b}-{s}" for m in ("frozen", "semppl") for b in (1, 2) for s in (0, 1)]
        self.assertEqual((failed, self._trained()), ([], sorted(expected)))
        self.assertIn("• 8 runs (2 methods × 2 × 2 seeds), 0 finished", output)
        self.assertRegex(output, r"\n• 7 of 8 runs, about \d+:\d\d left: ")
        self.assertRegex(output, r"\n• 8 of 8 runs: ")
        self.assertRegex(
            output, r"SemPPL, nearest labelled image +0\.611  \(0\.610–0\.612\)   0\.621  \(0\.620–0\.622\)\n"
        )
        self.assertIn("Fewer than 3 seeds: too few to test", output)
        page = (self.workdir / "comparison.html").read_text(encoding="utf-8")
        self.assertIn("<pre>semppl-compare --x</pre>", page)
        report = json.loads((self.workdir / "results.json").read_text(encoding="utf-8"))
        self.assertEqual((report["runs"], report["failed"], report["images"]), (8, [], "297 test images, 10 classes"))

    def test_runs_of_a_seed_have_the_same_settings_but_for_the_method(self):
        self._compare(_request(methods=["frozen", "semppl", "supervised"], budgets=[2]))
        for seed in (0, 1):
            settings = [
                Hyperparameters.load(self.workdir / f"{method}-2-{seed}") for method in ("semppl", "supervised")
            ]
            self.assertEqual({run.label_seed for run in settings}, {seed})
            differing = set(settings[0].differences(settings[1]))
            self.assertEqual(differing - set(OF_METHODS), {"method", "labelled_batch_size"})

    def test_a_method_has_its_own_settings_and_the_share_of_labels_of_the_data_unless_it_uses_labels(self):
        shared = Hyperparameters(**tiny.settings(data="digits", recipe="digits", small_views=0, labels_per_class=1))
        self.assertEqual((shared.batch_size, shared.labelled_batch_size), (16, 4))
        methods = ["frozen", "simclr", "supcon"]
        own = {"simclr_class_prior": 0.1}
        self._compare(_request(shared=shared, methods=methods, budgets=[1], own=own), command="x")
        found = [Hyperparameters.load(self.workdir / f"{method}-1-0") for method in methods[1:]]
        self.assertEqual([(run.simclr_class_prior, run.labelled_batch_size) for run in found], [(0.1, 1), (0.0, 4)])
        page = (self.workdir / "comparison.html").read_text(encoding="utf-8")
        self.assertIn("--train=all --method=simclr --simclr_class_prior=0.1 --labelled_batch_size=0<", page)

    def test_a_method_that_needs_a_weak_and_a_strong_view_has_a_recipe_of_its_own(self):
        changes = {"data": "digits", "recipe": "digits", "inference_size": 10}
        shared = Hyperparameters(**tiny.settings(**changes, small_views=0, labels_per_class=1))
        self._compare(_request(shared=shared, methods=["frozen", "fixmatch", "semppl"], budgets=[1]), command="x")
        found = [Hyperparameters.load(self.workdir / f"{method}-1-0") for method in ("fixmatch", "semppl")]
        self.assertEqual([run.recipe for run in found], ["randaugment_digits", "digits"])
        self.assertEqual([run.inference_size for run in found], [0, 10])
        page = (self.workdir / "comparison.html").read_text(encoding="utf-8")
        self.assertIn("--method=fixmatch --recipe=randaugment_digits --inference_size=0<", page)

    def test_an_inference_size_that_is_given_stays(self):
        changes = {"data": "digits", "recipe": "digits", "inference_size": 10}
        shared = Hyperparameters(**tiny.settings(**changes, small_views=0, labels_per_class=1))
        self._compare(_request(shared=shared, methods=["frozen", "fixmatch"], budgets=[1], given=["inference_size"]))
        self.assertEqual(Hyperparameters.load(self.workdir / "fixmatch-1-0").inference_size, 10)

    def test_runs_of_a_method_with_two_inference_sizes_are_refused(self):
        changes = {"data": "digits", "recipe": "digits", "inference_size": 10}
        shared = Hyperparameters(**tiny.settings(**changes, small_views=0, labels_per_class=1))
        request = {"shared": shared, "methods": ["frozen", "fixmatch"], "budgets": [1]}
        self._compare(_request(**request, given=["inference_size"]))  # as before sizes depended on views
        self._compare(_request(**request))
        with self.assertRaisesRegex(
            ValueError, r"^--workdir must be .* fixmatch have one --inference_size.*, with \[0, 10\]$"
        ):
            self._compare(_request(**request, seeds=[0, 1, 2]))

    def test_methods_of_which_a_part_is_not_used_are_warned_of_once(self):
        shared = Hyperparameters(
            **tiny.settings(data="digits", recipe="digits", small_views=0, labels_per_class=1, steps=2)
        )
        _, output, _ = self._compare(_request(shared=shared, methods=["frozen", "simmatch"], budgets=[1], seeds=[0, 1]))
        self.assertEqual(output.count("warning: SimMatch never uses its memory bank: --simmatch_delay_steps=1024 "), 1)
        _, output, _ = self._compare(_request(shared=shared, methods=["frozen", "simmatch"], budgets=[1], seeds=[0, 1]))
        self.assertNotIn("warning", output)  # all runs are finished

    def test_finished_runs_are_not_trained_again_and_others_go_on(self):
        self._compare(_request(seeds=[0, 1]))
        (self.workdir / "semppl-1-0" / "done.json").unlink()  # as if it had been killed
        evaluated = self.evaluate.call_count
        _, output, _ = self._compare(_request(seeds=[0, 1, 2]))
        again = self._trained()
        self.assertEqual(again.count("semppl-1-0"), 2)
        self.assertEqual({again.count(name) for name in again if name != "semppl-1-0"}, {1})
        self.assertLen(again, 8 + 1 + 4)
        self.assertEqual(self.evaluate.call_count - evaluated, 4)  # the weights of the run that went on are the same
        self.assertIn("• 12 runs (2 methods × 2 × 3 seeds), 7 finished", output)
        self.assertRegex(output, r"\d of \d+ differences are significant")

    def test_a_failing_run_shows_its_log_and_the_others_are_kept(self):
        self.workdir.mkdir()
        (self.workdir / "fail-semppl-2-1").touch()
        failed, output, errors = self._compare(_request())
        self.assertEqual([run.folder.name for run in failed], ["semppl-2-1"])
        self.assertIn("error: this run fails", errors)
        self.assertIn("• failed with exit code 1: SemPPL, 2 labels per class, seed 1; log: ", output)
        with (self.workdir / "results.csv").open(encoding="utf-8") as file:
            runs = {(row["method"], row["labels_per_class"], row["seed"]) for row in csv.DictReader(file)}
        self.assertLen(runs, 7)
        page = (self.workdir / "comparison.html").read_text(encoding="utf-8")
        self.assertIn("7 of 8 runs ended; failed: SemPPL, 2 labels per class, seed 1.", page)
        (self.workdir / "fail-semppl-2-1").unlink()
        self.assertEqual(self._compare(_request())[0], [])
        self.assertNotIn("failed:", (self.workdir / "comparison.html").read_text(encoding="utf-8"))

    def test_other_settings_are_refused_by_name_before_a_run(self):
        self._compare(_request(budgets=[1], seeds=[0, 1]))
        trained = self._trained()
        shared = Hyperparameters(
            **tiny.settings(
                data="digits", recipe="digits", small_views=0, labels_per_class=1, queue_size=32, width=0.25
            )
        )
        with self.assertRaisesRegex(ValueError, r"^--workdir must .*differs in --width=0.25 \(there: 0.125\)$"):
            self._compare(_request(shared=shared))
        self.assertEqual(self._trained(), trained)

    def test_a_comparison_that_another_process_makes_is_left_alone(self):
        self._compare(_request(budgets=[1], seeds=[0, 1]))
        with (
            folder.held(self.workdir),
            self.assertRaisesRegex(ValueError, "^--workdir must be in use by one process only. Received: "),
        ):
            self._compare(_request(budgets=[1], seeds=[0, 1, 2]))
        self.assertLen(self._trained(), 4)

    def test_settings_that_a_method_cannot_train_with_name_it_before_a_run(self):
        shared = Hyperparameters(**tiny.settings(data="digits", recipe="digits", large_views=3, labels_per_class=1))
        with self.assertRaisesRegex(
            ValueError, r"^--large_views must be 2 .* Received: 3 \(in the runs of --methods=fixmatch\)$"
        ):
            self._compare(_request(shared=shared, methods=["frozen", "semppl", "fixmatch"]))
        self.assertFalse(self.workdir.exists())

    def test_more_labels_than_a_class_has_are_refused_with_its_name(self):
        with self.assertRaisesRegex(
            ValueError, "^--labels_per_class must be at most 14[0-9], the labelled images of the smallest class, 8. Rec"
        ):
            self._compare(_request(budgets=[1, 1000]))
        self.assertFalse(self.workdir.exists())

    def test_held_out_images_are_needed_and_may_be_validation_images(self):
        pictures = pathlib.Path(self.create_tempdir().full_path) / "pictures"
        subprocess.run([sys.executable, "-c", _PICTURES, str(pictures)], check=True)
        changes = {"data": f"folder:{pictures}?labels=folders", "small_views": 0, "recipe": "digits", "shrink": 0}
        request = _request(shared=Hyperparameters(**tiny.settings(**changes, labels_per_class=1)), budgets=[1])
        with self.assertRaisesRegex(ValueError, "^--test must name labelled images, or the share .*Received: none$"):
            self._compare(request)
        held_out = Hyperparameters(**tiny.settings(**changes, labels_per_class=1, validation="0.5"))
        self._compare(_request(shared=held_out, budgets=[1]))
        self.assertEqual({call.kwargs["split"] for call in self.evaluate.call_args_list}, {"validation"})

    def test_runs_are_evaluated_again_on_other_held_out_pictures_in_the_same_place_and_other_training_data_are_refused(
        self,
    ):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for name in ("train", "test"):
            subprocess.run([sys.executable, "-c", _PICTURES, str(folder / name)], check=True)
        places = {
            "data": f"folder:{folder / 'train'}?labels=folders",
            "test": f"folder:{folder / 'test'}?labels=folders",
        }
        shared = Hyperparameters(
            **tiny.settings(**places, small_views=0, recipe="digits", shrink=0, labels_per_class=1)
        )
        request = _request(shared=shared, budgets=[1])
        counts = []
        for change in (lambda: None, lambda: None, lambda: (folder / "test/0/1.png").rename(folder / "test/1/9.png")):
            change()
            self._compare(request)
            counts.append(self.evaluate.call_count)
        self.assertEqual(counts, [4, 4, 8])
        shutil.copy(folder / "test/1/0.png", folder / "test/1/9.png")  # another picture of the same name
        self._compare(request)
        self.assertEqual(self.evaluate.call_count, 12)
        planned = plan.plan(shared, self.workdir, methods=request.methods, seeds=request.seeds, budgets=[1])
        for run in preparation.prepare(planned).runs:  # as training does
            (run.folder / "data.json").write_text(json.dumps(run.data), encoding="utf-8")
        self._compare(request)
        shutil.copy(folder / "train/1/0.png", folder / "train/1/9.png")
        with self.assertRaisesRegex(
            ValueError,
            "^--data must be .* other data than those of .*/frozen-1-0: 13 images, 2 labelled, where there were 12",
        ):
            self._compare(request)


_PICTURES = textwrap.dedent(
    """
    import pathlib, sys
    import numpy as np
    from PIL import Image
    for number in range(2):
        folder = pathlib.Path(sys.argv[1]) / str(number)
        folder.mkdir(parents=True)
        for at in range(6):
            pixels = np.random.default_rng(10 * number + at).integers(0, 255, (9, 9), np.uint8)
            Image.fromarray(pixels).save(folder / f"{at}.png")
    """
)


class FlagsTest(parameterized.TestCase):
    """The command line, in processes that must not import TensorFlow."""

    @parameterized.parameters(
        (["--methods=semppl,frozn"], "--methods must be of frozen, .* Received: frozn; did you mean frozen"),
        (["--method_steps=semppl"], "--method_steps must be comma-separated METHOD:STEPS, .* Received: semppl"),
        (["--method_steps=semppl:3,semppl:4"], "--method_steps must be .*once.* Received: semppl:3,semppl:4"),
        (["--method_steps=byol:3"], "--method_steps must name methods that are trained, of .* Received: byol"),
        (["--seeds=1"], "--seeds must be 2 or more, .* Received: 1"),
        (["--seeds=0"], "--seeds must be a number from 1 on, .* Received: 0"),
        (["--seeds=1,1"], "--seeds must be .* Received: 1,1"),
        (["--labels_per_class=1,x"], "--labels_per_class must be whole numbers .* Received: 1,x"),
        (["--labels_per_class=0"], "--labels_per_class must be whole numbers from 1 on.* Received: 0"),
        (["--label_seed=4"], "--label_seed must be left out, since --seeds decides. Received: 4"),
        (["--method=supervised"], "--method must be left out, since --methods decides. Received: supervised"),
        (["--methods=semppl", "--swav_epsilon=1"], "--swav_epsilon must come with swav among --methods. Received: 1.0"),
        (
            ["--methods=swav", "--swav_epsilon=0"],
            r"--swav_epsilon must be positive. Received: 0.0 \(in the runs of --me",
        ),
        (["--label_fraction=0.1"], "Exactly one of .* Received: --labels_per_class=1 --label_fraction=0.1"),
    )
    def test_a_wrong_flag_is_one_line_before_tensorflow(self, arguments, message):
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_TENSORFLOW, "--preset=digits", "--workdir=none", *arguments],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, f"\\Aerror: {message}")

    def test_the_help_lists_methods_seeds_and_the_flags_of_training(self):
        command = [sys.executable, "-c", _WITHOUT_TENSORFLOW, "--help"]
        shown = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
        for flag in ("--methods", "--seeds", "--labels_per_class", "--preset", "--steps", "--checkpoint_every"):
            self.assertIn(f"\n  {flag}:", shown)
        self.assertIn("Comma-separated numbers of labelled images per class", shown)
        self.assertNotIn("Number of labelled images per class; 0", shown)


_WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None  # importing it fails
runpy.run_module("semppl.experiments.compare", run_name="__main__", alter_sys=True)
"""


def _command_lines():
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_bytes().decode("utf-8", "replace")


class WholeComparisonTest(absltest.TestCase):
    @testing.slow
    def test_a_comparison_that_is_killed_leaves_no_training_and_goes_on_to_the_figures_of_one_that_was_not(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        command = [
            sys.executable,
            "-m",
            "semppl.experiments.compare",
            "--preset=digits",
            "--width=0.125",
            "--steps=400",
        ]
        command += ["--methods=semppl", "--seeds=2", "--checkpoint_every=20", "--log_every=10"]
        whole = subprocess.run([*command, f"--workdir={folder / 'whole'}"], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(whole.returncode, 0, whole.stderr)
        stopped = folder / "stopped"
        killed = subprocess.Popen([*command, f"--workdir={stopped}"], cwd=ROOT, stdout=subprocess.DEVNULL)
        while not (stopped / "semppl-1-0" / "checkpoints" / "checkpoint").is_file():
            self.assertIsNone(killed.poll())
            time.sleep(0.1)
        killed.kill()
        killed.wait()
        deadline = time.monotonic() + 60
        while any(str(stopped) in line for line in _command_lines()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertFalse((stopped / "semppl-1-0" / "done.json").exists())
        self.assertIn("stopped on SIGTERM: saved at step", (stopped / "semppl-1-0.log").read_text(encoding="utf-8"))
        second = subprocess.run([*command, f"--workdir={stopped}"], cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(second.returncode, 0, second.stderr)
        expected = whole.stdout.replace(str(folder / "whole"), str(stopped))
        self.assertEqual(second.stdout.partition("\nAccuracy on")[2], expected.partition("\nAccuracy on")[2])
        for name in ("frozen-1-0", "semppl-1-0", "semppl-1-1"):
            done = [(folder / each / name / "done.json").read_text() for each in ("whole", "stopped")]
            self.assertEqual(*done)

    @testing.slow
    def test_digits_are_compared_from_the_command_line_and_a_second_call_trains_nothing(self):
        workdir = pathlib.Path(self.create_tempdir().full_path) / "all"
        shared = [
            *("--preset=digits", "--width=0.125", "--head_width=16", "--embedding_width=8", "--steps=4"),
            *("--warmup_steps=0", "--batch_size=32", "--labelled_batch_size=8", "--queue_size=64"),
        ]
        chosen = ["--labels_per_class=1,2", "--methods=semppl,semppl_heads", "--seeds=2", f"--workdir={workdir}"]
        command = [sys.executable, "-m", "semppl.experiments.compare", *shared, *chosen]
        first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertIn("• 12 of 12 runs: ", first.stdout)
        for row in ("raw pixels", "untrained encoder", "SemPPL,", "SemPPL's heads"):
            self.assertIn(row, first.stdout)
        report = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
        self.assertLen(report["rows"], 4 * 3 * 2)
        for row in report["rows"]:
            self.assertBetween(row["mean"], 0, 1)
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(second.returncode, 0, second.stderr)
        self.assertIn("12 finished", second.stdout)
        self.assertEqual(second.stdout.partition("\nAccuracy on")[2], first.stdout.partition("\nAccuracy on")[2])


if __name__ == "__main__":
    absltest.main()
