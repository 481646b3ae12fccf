"""Tests of semppl.doctor.examine, and of its page."""

import contextlib
import io
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized
from PIL import Image

from semppl.configs.hyperparameters import Hyperparameters
from semppl.doctor import advice, examine, trial
from semppl.doctor.advice import in_words
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


def _photograph(seed, size=(60, 80)):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


_SMALL = ("--batch_size=16", "--labelled_batch_size=8", "--negatives=8", "--queue_size=16")


class _Run:
    """Children of a program: one that takes five steps and reports them, as often as the clock moves."""

    def __init__(self, *, lines, seconds, errors=""):
        self.lines, self.seconds, self.errors, self.now, self.written = lines, seconds, errors, 0.0, 0
        self.returncode = 2 if errors else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def start(self, command, *, stderr, **_):
        self.command = command
        stderr.write(self.errors)
        stderr.flush()
        (workdir,) = (argument.removeprefix("--workdir=") for argument in command if "--workdir=" in argument)
        self.metrics = pathlib.Path(workdir, "metrics.jsonl")
        self.metrics.parent.mkdir()
        return self

    def poll(self):
        return self.returncode if self.written == self.lines else None

    def monotonic(self):
        return self.now

    def sleep(self, _):
        self.now += self.seconds
        if self.now > 1:  # starting takes a while
            self.written += 1
            with self.metrics.open("a") as file:
                file.write(json.dumps({"step": 5 * self.written, "loss": 1.0}) + "\n")


class _Bars(_Run):
    """A run that computes ten features a second, from the 60th of 600 on, before the first report."""

    def sleep(self, _):
        self.now += self.seconds
        done = 60 + 10 * round(self.now - 1)
        if done <= 600:
            print(f"\r {done}/600 [, 10 pictures/s]", end="", file=self.stderr, flush=True)
        else:
            super().sleep(_)
            self.now -= self.seconds


def _of_heads(**changes):
    """Settings of a run that trains heads on the features of 17 views."""
    fixed = {
        "encoder": "keras:MobileNetV2",
        "initial_weights": "imagenet",
        "train": "heads",
        "labels_per_class": 1,
        "small_views": 0,
        "large_views": 2,
        "cached_views": 17,
        "steps": 1000,
        "batch_size": 128,
        "labelled_batch_size": 64,
        "negatives": 40,
        "warmup_steps": 0,
    }
    return Hyperparameters(**fixed | changes)


class DoctorTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.folder / "user")}))
        self.enter_context(contextlib.redirect_stderr(io.StringIO()))
        for number in range(12):
            self.save(f"train/{number:02}.png", number)
        for number in range(3):
            self.save(f"test/cat/{number}.png", 100 + number)
        (self.folder / "train" / "l.csv").write_text("path,label\n00.png,cat\n01.png,cat\n02.png,cat\n03.png,<b>owl\n")

    def save(self, name, seed, **options):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _photograph(seed).save(path, **options)

    def call(self, *changes, trial_steps=0):
        """Runs the command; returns its exit code, what it prints, the report and the page."""
        arguments = [
            "doctor",
            f"--data=folder:{self.folder}/train?labels=l.csv",
            f"--test=folder:{self.folder}/test?labels=folders",
            f"--workdir={self.folder}/out",
            f"--trial_steps={trial_steps}",
            *changes,
        ]
        with flagsaver.flagsaver(), contextlib.redirect_stdout(io.StringIO()) as printed:
            flags.FLAGS(arguments)
            code = examine.main(arguments[:1])
        if code == 2:
            return code, printed.getvalue(), {}, ""
        out = self.folder / "out"
        report = json.loads((out / "doctor.json").read_text())
        return code, printed.getvalue(), report, (out / "doctor.html").read_text()

    def texts(self, report):
        return [problem["text"] for problem in report["problems"]]

    def test_a_sound_folder_has_its_counts_told(self):
        code, _, report, _ = self.call()
        self.assertEqual(code, 0)
        self.assertEqual(report["parts"], {"labelled": 4, "unlabelled": 8, "test": 3})
        self.assertEqual(report["classes"], {"<b>owl": {"labelled": 1, "test": 0}, "cat": {"labelled": 3, "test": 3}})
        (train, test) = report["folders"]
        self.assertEqual((train["pictures"], train["files_without_row"], train["other_files"]), (12, 8, 1))
        self.assertEqual(test["shorter_side"], {"smallest": 60, "median": 60, "largest": 60})
        self.assertEqual(self.texts(report), ["fewer than 3 labels: <b>owl", "no test image of: <b>owl"])

    def test_a_thin_picture_has_a_figure(self):
        Image.new("RGB", (5000, 1), "red").save(self.folder / "train" / "line.png")
        code, _, _, page = self.call("--max_bad_fraction=0.2")
        self.assertEqual(code, 0)
        self.assertIn("line.png", page)

    def test_what_a_run_would_skip_or_stop_at_is_told(self):
        (self.folder / "train" / "bad.jpg").write_bytes(b"bad")
        with (self.folder / "train" / "l.csv").open("a") as file:
            file.write("gone.png,cat\n")
        code, printed, report, page = self.call()
        self.assertEqual(code, 1)
        self.assertIn("stops the run: ", printed)
        self.assertIn(f"{self.folder}/train: 1 in the CSV without a file: gone.png", self.texts(report))
        self.assertEqual(report["folders"][0]["bad_files"], {"bad.jpg": "of no known format"})
        self.assertIn("bad.jpg", page)
        self.assertEqual(self.call("--max_bad_fraction=0.1")[0], 0)

    def test_a_finding_is_printed_once(self):
        self.save("train/.net/hidden.png", 60)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            printed = self.call()[1]
        self.assertEqual((printed + said.getvalue()).count("names begin with a dot: '.net'"), 1)

    def test_leaks_and_contradictions_are_found(self):
        self.save("test/cat/leak.png", 7)
        self.save("test/cat/alike.jpg", 8, quality=60)
        self.save("train/04.png", 0)
        with (self.folder / "train" / "l.csv").open("a") as file:
            file.write("04.png,<b>owl\n")
        _, _, report, page = self.call()
        found = report["duplicates"]
        self.assertEqual(found["exact"]["by_parts"], {"labelled – labelled": 1, "unlabelled – test": 1})
        self.assertEqual(found["near"]["by_parts"], {"unlabelled – test": 1})
        names = [[name for _, _, name in pair] for pair in found["exact"]["listed"]]
        self.assertEqual(names, [["07.png", "cat/leak.png"], ["00.png", "04.png"]])
        self.assertContainsSubset(
            [
                "1 exact duplicate between training and held-out images: scores will be too high",
                "1 near duplicate between training and held-out images: scores will be too high",
                "1 exact duplicate within training or within a test set",
                "different labels of equal images: 1 pair",
            ],
            self.texts(report),
        )
        self.assertIn("test: cat/leak.png", page)

    def test_the_page_needs_no_other_file_and_is_not_fooled_by_names(self):
        (self.folder / "train" / "<script>alert(1)<").mkdir()
        self.save("train/<script>alert(1)</x.png", 50)
        page = self.call()[3]
        self.assertEmpty(re.findall(r"""(?:src|href)=["'](?!data:|#)""", page))
        own = re.sub(r'src="data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=]*"|href="#[a-z0-9-]+"', "", page)
        self.assertNotRegex(own, r"(?i)https?:|src|href|url\(|@import|<link|<iframe|<object|<embed|data:image")
        self.assertNotIn("<script", page)
        self.assertNotIn("<b>owl", page)
        self.assertIn("&lt;b&gt;owl", page)
        self.assertGreaterEqual(page.count("data:image/jpeg;base64,"), 12)

    def test_data_that_cannot_be_loaded_stop_a_run_and_still_have_a_report(self):
        code, _, report, page = self.call(f"--data=folder:{self.folder}/none")
        self.assertEqual(code, 1)
        self.assertEqual(
            self.texts(report), [f"--data must name an existing folder after folder:. Received: {self.folder}/none"]
        )
        self.assertIn("must name an existing folder", page)

    def test_no_label_stops_a_run(self):
        code, _, report, _ = self.call(f"--data=folder:{self.folder}/train", "--test=")
        self.assertEqual((code, self.texts(report)), (1, ["no training image has a label"]))

    def test_a_wrong_flag_is_one_line(self):
        self.assertEqual(self.call("--truncated=mend")[0], 2)
        self.assertEqual(self.call("--recipe=nonesuch")[0], 2)

    def test_a_trial_tells_time_and_memory(self):
        with mock.patch.object(trial, "Children") as children, mock.patch.object(trial, "time") as clock:
            run = _Run(lines=4, seconds=16 * 5 / 24)  # between lines, in which five steps of 16 images are taken
            children.return_value, clock.monotonic, clock.sleep = run, run.monotonic, run.sleep
            _, _, report, page = self.call(
                "--pixel_mean=0.5,0.5,0.5", "--steps=7", "--warmup_steps=0", *_SMALL, trial_steps=20
            )
        self.assertEqual((report["trial"]["images_per_second"], report["trial"]["seconds_per_epoch"]), (24.0, 0.5))
        self.assertGreater(report["trial"]["memory_mb"], 0)
        self.assertContainsSubset(["--steps=20", "--log_every=5", "--pixel_mean=0.5,0.5,0.5"], run.command)
        self.assertIn("seconds per epoch", page)
        before = report["trial"]["seconds_before_first_report"]
        self.assertEqual(report["time"], {"steps": 7, "seconds": 4.7, "seconds_before_first_step": before})
        self.assertEqual(
            report["verdict"],
            f"ready: 7 steps, about 5 s on this machine, after {in_words(before)} before the first step",
        )
        self.assertLess(page.index(report["verdict"][1:]), page.index("<h2>"))

    def test_the_features_of_a_trial_have_a_bar(self):
        with mock.patch.object(trial, "Children") as children, mock.patch.object(trial, "time") as clock:
            run = _Run(lines=4, seconds=1.0)
            run.errors = "noise\r 10%| 60/600 [00:04<00:40, 13 pictures/s]\r 20%| 120/600 [00:08<00:36, 13 pictures/s]"
            children.return_value, clock.monotonic, clock.sleep = run, run.monotonic, run.sleep
            with contextlib.redirect_stderr(io.StringIO()) as shown:
                self.call(*_SMALL, trial_steps=20)
        self.assertIn("\r 20%| 120/600 [00:08<00:36, 13 pictures/s]\n", shown.getvalue())
        self.assertNotIn("noise", shown.getvalue())

    def test_a_bar_is_measured(self):
        """60 pictures were found; 4 seconds later 90 are left of 150, at seconds a picture where computing is slow."""
        with tempfile.TemporaryFile("w+") as errors, contextlib.redirect_stderr(io.StringIO()):
            bar = trial._Bar(errors)
            for now, line in (
                (7.0, "inspecting 150 pictures\n"),
                (8.0, "\r 40%| 60/150 [00:00<?, ? pictures/s]"),
                (12.0, "\r 43%| 65/150 [00:04<01:08, 1.25s/ pictures]"),
                (12.5, "noise\n"),
            ):
                print(line, end="", file=errors, flush=True)
                bar.show(now)
        self.assertEqual(bar.features, trial.Features(found=60, left=90, seconds_per_picture=4.0 / 5))
        self.assertEqual(bar.seconds, 4.0)

    @parameterized.parameters((540, False), (539, True))
    def test_a_trial_with_too_many_features_is_stopped_once_their_speed_is_known(self, most, stopped):
        with mock.patch.object(trial, "Children") as children, mock.patch.object(trial, "time") as clock:
            run = _Bars(lines=4, seconds=1.0)
            children.return_value, clock.monotonic, clock.sleep = run, run.monotonic, run.sleep
            with tempfile.TemporaryFile("w+") as errors, contextlib.redirect_stderr(io.StringIO()):
                command = [f"--workdir={self.folder}/run"]
                run.stderr = errors
                if stopped:
                    with self.assertRaises(trial.ManyFeatures) as caught:
                        trial._follow(command, self.folder / "run" / "metrics.jsonl", errors, most=most)
                    self.assertEqual(caught.exception.features, trial.Features(60, 540, 1 / 10))
                    self.assertEqual(run.now, 12.0)  # more than ten seconds after the bar's first state
                    return
                speed, before, features = trial._follow(
                    command, self.folder / "run" / "metrics.jsonl", errors, most=most
                )
        self.assertEqual((speed, features), (5.0, trial.Features(60, 540, 1 / 10)))
        self.assertEqual(before, 1 + 1)  # to the bar, which takes 54 seconds, and from its end to the first report

    def test_every_class_has_a_bar_and_findings_lead_to_their_section(self):
        page = self.call()[3]
        widths = [float(width) for width in re.findall(r'class="bar" style="width: ([\d.]+)em"', page)]
        self.assertEqual(widths, [4.0, 12.0])  # one label and three
        for anchor in set(re.findall(r'href="#([a-z0-9-]+)"', page)):
            self.assertIn(f'id="{anchor}"', page)
        self.assertIn('<a href="#labels">fewer than 3 labels', page)
        self.assertEqual(len(re.findall(r'<h3 id="class-\d+">', page)), 2)
        self.assertIn('name="viewport"', page)
        self.assertIn("prefers-color-scheme: dark", page)

    def test_the_command_that_starts_the_run_is_printed_where_it_can(self):
        with mock.patch.object(sys, "argv", ["doctor", "--workdir=w", "--trial_steps=0"]):
            _, printed, report, page = self.call("--batch_size=64", *_SMALL[1:])
            self.assertIn("suggested: --preset=own_pictures_cpu (on a CPU, heads on a pretrained network", printed)
            self.assertEndsWith(report["command"], " --preset=own_pictures_cpu --workdir=w")
            self.assertEndsWith(printed, f"was not measured\n  {report['command']}\n")
            self.assertIn(f"<code>{report['command']}</code>", page)
            self.assertNotIn("command", self.call(f"--data=folder:{self.folder}/none")[2])

    @parameterized.parameters(
        (["--trial_steps", "5", "--workdir", "o", "--shrink=160"], ["--workdir=o", "--shrink=280"]),
        (
            ["--nooverwrite", "--data=folder:a b?labels=l.csv"],
            ["--nooverwrite", "--data=folder:a b?labels=l.csv", "--shrink=280"],
        ),
    )
    def test_the_command_has_the_flags_of_the_doctor_with_the_suggestions(self, arguments, expected):
        written = examine._command(arguments, {"shrink": {"value": "280", "reason": ""}})
        self.assertEqual(shlex.split(written)[-len(expected) :], expected)
        self.assertNotIn("trial_steps", written)

    def test_another_preset_replaces_the_one_in_use_and_comes_first(self):
        own = self.folder / "my_own_pictures_shop.flags"
        own.write_text("--preset=own_pictures_cpu\n--data=folder:a b\n")
        arguments = ["--flagfile=configs/own_pictures_cpu.flags", f"--flagfile={own}", "--preset=x", "--workdir=w"]
        written = examine._command(arguments, {"preset": {"value": "own_pictures_finetune", "reason": ""}})
        expected = ["--preset=own_pictures_finetune", "--data=folder:a b", "--workdir=w"]
        self.assertEqual(shlex.split(written)[-3:], expected)

    def test_settings_that_pretrain_refuses_stop_a_run_before_a_trial(self):
        code, printed, report, _ = self.call(
            "--labelled_batch_size=6", "--batch_size=8", "--negatives=3", "--steps=5", "--warmup_steps=5"
        )
        self.assertEqual(code, 1)
        self.assertIn("--warmup_steps must be below the 5 steps", printed)
        self.assertEqual(report["suggestions"]["preset"]["value"], "own_pictures_cpu")

    def test_one_class_stops_a_run_and_the_real_mistake_is_named(self):
        (self.folder / "train" / "l.csv").write_text("path,label\n00.png,cat\n01.png,cat\n02.png,cat\n")
        code, printed, report, _ = self.call(trial_steps=5)
        self.assertEqual(code, 1)
        message = "--data must have labels of two or more classes. Received: only 'cat'"
        self.assertIn(f"stops the run: {message}", printed)
        self.assertEqual(report["verdict"], "not ready: 1 finding stops the run")
        self.save("test/hat/1.png", 110)
        code, printed, _, _ = self.call()
        self.assertEqual(code, 1)
        self.assertIn(f"stops the run: {message}", printed)
        self.assertNotIn("--test", printed)

    def test_classes_with_nearly_the_same_name_are_findings(self):
        rows = ("00.png,Dress", "01.png,dress", "02.png,Dress", "03.png,hats", "04.png,hat", "05.png,hat")
        (self.folder / "train" / "l.csv").write_text("\n".join(("path,label", *rows)))
        code, _, report, page = self.call("--test=")
        self.assertEqual(code, 0)
        texts = [text for text in self.texts(report) if "nearly" in text]
        self.assertEqual(
            texts,
            [
                "'Dress' and 'dress' are nearly the same name; one class, or two?",
                "'hat' and 'hats' are nearly the same name; one class, or two?",
            ],
        )
        self.assertIn("nearly the same name", page)

    @parameterized.parameters(
        # With a cache: what a trial finds, the trial's features, and what is left to the run.
        (
            "",
            trial.Features(0, 1_000, 0.1),
            100.0,
            "2 min before the first step (2 min for the features of 1,000 pictures",
        ),
        ("cache", trial.Features(0, 1_000, 0.1), 0.0, "20 s before the first step (all features are cached)"),
        ("cache", None, 0.0, "20 s before the first step (all features are cached)"),
    )
    def test_features_that_are_cached_take_no_time(self, cache_dir, features, seconds, verdict):
        report, settings = {"problems": []}, _of_heads(cache_dir=cache_dir)
        result = trial.Trial(640.0, memory_mb=1, seconds_before_first_report=20.0, features=features)
        with mock.patch.object(examine, "train_briefly", return_value=result) as tried:
            examine._measure(report, settings, 20, 1_000)
        self.assertEqual((tried.call_count, tried.call_args.args[0].cached_views), (1, 17))
        time = {"steps": 1000, "seconds": 200.0, "seconds_before_first_step": 20.0 + seconds}
        of_features = {"features_left": 1_000 if seconds else 0, "seconds_of_features": seconds}
        self.assertEqual(report["time"], time | of_features)
        self.assertIn(f"on this machine, after {verdict}", advice.verdict(report))
        self.assertNotIn("features", report["trial"])

    @parameterized.parameters((0, 2_640), (640, 2_000))
    def test_many_pictures_are_tried_with_fewer_cached_views(self, found, left):
        report, settings = {"problems": []}, _of_heads(cache_dir="cache")
        many = trial.ManyFeatures(trial.Features(found, left, seconds_per_picture=0.05))
        result = trial.Trial(640.0, memory_mb=1, seconds_before_first_report=20.0)
        with mock.patch.object(examine, "train_briefly", side_effect=[many, result]) as tried:
            examine._measure(report, settings, 20, 2_640)
        self.assertEqual([call.args[0].cached_views for call in tried.call_args_list], [17, 2])
        self.assertEqual([call.kwargs["most"] for call in tried.call_args_list], [20_000 // 17, 2_640])
        time = {"steps": 1000, "seconds": 200.0, "seconds_before_first_step": 20.0 + 0.05 * left}
        self.assertEqual(report["time"], time | {"features_left": left, "seconds_of_features": 0.05 * left})

    def test_features_of_too_many_pictures_are_not_tried(self):
        report, many = {"problems": []}, trial.ManyFeatures(trial.Features(0, 30_000, 0.1))
        with (
            mock.patch.object(examine, "train_briefly", side_effect=[many]),
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            examine._measure(report, _of_heads(), 20, 30_000)
        self.assertNotIn("time", report)
        self.assertEndsWith(said.getvalue(), "no trial: features of 30,000 pictures come before a step, about 50 min\n")

    def test_a_trial_that_fails_stops_a_run(self):
        with mock.patch.object(trial, "Children") as children, mock.patch.object(trial, "time") as clock:
            run = _Run(lines=1, seconds=1.0, errors="noise\nerror: --batch_size must be small\n")
            children.return_value, clock.monotonic, clock.sleep = run, run.monotonic, run.sleep
            code, _, report, _ = self.call(trial_steps=3)
        self.assertEqual(code, 1)
        self.assertIn("a run of 3 steps ends with: --batch_size must be small", self.texts(report))

    def test_a_trial_that_is_interrupted_does_not_go_on_alone(self):
        started, start = [], subprocess.Popen
        with (
            mock.patch.object(
                trial.subprocess, "Popen", side_effect=lambda *a, **k: started.append(start(*a, **k)) or started[0]
            ),
            mock.patch.object(trial.time, "sleep", side_effect=KeyboardInterrupt),
            tempfile.TemporaryFile("w+") as errors,
            self.assertRaises(KeyboardInterrupt),
        ):
            trial._follow(
                [sys.executable, "-c", "import time; time.sleep(600)"], self.folder / "metrics.jsonl", errors, most=0
            )
        self.assertEqual(started[0].poll(), -signal.SIGKILL)

    def test_other_data_sets_are_examined_too(self):
        code, _, report, _ = self.call(
            "--data=digits", "--labels_per_class=5", "--test=", "--pixel_mean=0.5", "--pixel_stddev=0.5"
        )
        self.assertEqual((code, report["folders"]), (0, []))
        self.assertEqual(report["parts"], {"labelled": 50, "unlabelled": 1450, "test": 297})


if __name__ == "__main__":
    tf.test.main()
