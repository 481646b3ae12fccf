"""Tests of semppl.trainers.pretrain: whole short runs, and the ways in which a command can be wrong."""

import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import pty
import re
import signal
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver, parameterized
from tensorboard.backend.event_processing import event_accumulator

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.data.views.recipes import RECIPES
from semppl.layers.blocks.precision import PRECISIONS
from semppl.runs import checkpoints, imagenet, training_time
from semppl.runs.folder import NotWritten, events_folder
from semppl.tests import testing
from semppl.tests.trainers import runs
from semppl.trainers import pretrain, roles
from semppl.trainers.devices import strategy
from semppl.trainers.optimisers.registry import OPTIMISERS
from semppl.trainers.reports import callbacks
from semppl.trainers.run_options import RunOptions

_SETTINGS = {
    "labels_per_class": 1,
    "recipe": "digits",
    "large_views": 2,
    "small_views": 1,
    "large_size": 8,
    "small_size": 8,
    "encoder": "convnet",
    "width": 0.25,
    "head_width": 16,
    "embedding_width": 16,
    "pixel_mean": (0.3,),
    "pixel_stddev": (0.38,),
    "batch_size": 32,
    "labelled_batch_size": 8,
    "queue_size": 48,
    "steps": 10,
    "warmup_steps": 4,
    "learning_rate": 0.8,
    "target_decay": 0.9,
    "semantic_weight": 1.0,
    "invariance_weight": 0.1,
}
_LOSSES = ("contrastive_augmentation", "contrastive_semantic", "invariance_augmentation", "invariance_semantic")
_TAGS = {
    *(f"loss/{name}" for name in ("loss", *_LOSSES)),
    *(f"accuracy/pseudo_label_{name}" for name in ("accuracy", "balanced_accuracy", "coverage")),
    *(f"pseudo_labels/{name}" for name in ("pseudo_labels_judged", "vote_confidence", "with_semantic_positive")),
    *(f"optimisation/{name}" for name in ("learning_rate", "target_decay", "gradient_norm")),
    *("embedding_spread", "queue/filled", "queue/fewest_of_a_class"),
    *(f"queue/class {digit}" for digit in range(10)),
    *("views/large", "views/small"),
}


def _train(workdir, *, changes=None, **options):
    """Trains without a word."""
    settings = Hyperparameters(**{**_SETTINGS, **(changes or {})})
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        pretrain.pretrain(settings, pathlib.Path(workdir), RunOptions(**options))
    return printed.getvalue()


def _lines(workdir):
    return [json.loads(line) for line in pathlib.Path(workdir, "metrics.jsonl").read_text().splitlines()]


def _checkpoint(workdir):
    reader = tf.train.load_checkpoint(checkpoints.latest_checkpoint(workdir))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name) for name in names if not name.startswith("save_counter")}


class _OnTerminal:
    """Runs something with a terminal as standard output, and keeps what it shows."""

    def __enter__(self):
        self._main, side = pty.openpty()
        self._stdout = os.fdopen(side, "w")
        self._redirection = contextlib.redirect_stdout(self._stdout)
        self._redirection.__enter__()
        return self

    def __exit__(self, *error):
        self._redirection.__exit__(*error)
        os.set_blocking(self._main, False)
        self.shown = ""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._main, 65536):
                self.shown += part.decode()
        self._stdout.close()
        os.close(self._main)


@functools.cache
def _a_run():
    """Returns the folder of a finished run, and what it showed on a terminal."""
    folder = tempfile.TemporaryDirectory()
    _a_run.folder = folder  # until the process ends
    with (
        mock.patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": "120"}),
        mock.patch.object(callbacks, "tenth", return_value=1),  # views at every step
        _OnTerminal() as terminal,
    ):
        options = RunOptions(checkpoint_every=4, log_every=3)
        pretrain.pretrain(Hyperparameters(**_SETTINGS), pathlib.Path(folder.name), options)
    return pathlib.Path(folder.name), terminal.shown


class RunTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_run_leaves_what_it_takes_to_go_on_and_to_judge_it(self):
        workdir, _ = _a_run()
        done = json.loads((workdir / "done.json").read_text())
        (process,) = training_time.read_processes(workdir)
        self.assertEqual((process["step"], process["last_step"]), (0, done["step"]))
        self.assertEqual(done["step"], 10)
        self.assertEqual(done["weights_sha256"], checkpoints.weights_sha256(checkpoints.latest_checkpoint(workdir)))
        settings = Hyperparameters.load(workdir)
        self.assertEqual(settings, Hyperparameters(**_SETTINGS))
        names = {path.name.partition(".")[0] for path in (workdir / "checkpoints").iterdir()}
        self.assertEqual(names, {"checkpoint", "step-8", "step-10"})

    def test_tensorboard_shows_everything_that_a_run_reports(self):
        workdir, _ = _a_run()
        events = event_accumulator.EventAccumulator(str(events_folder(workdir)), {"tensors": 0}).Reload()
        self.assertEqual(set(events.Tags()["tensors"]), _TAGS)
        for tag in _TAGS:
            steps = [event.step for event in events.Tensors(tag)]
            self.assertEqual(steps, [*range(11)] if tag.startswith("views/") else [3, 6, 9, 10], tag)

    def test_the_reports_are_what_the_settings_say(self):
        workdir, _ = _a_run()
        lines = _lines(workdir)
        self.assertEqual([line["step"] for line in lines], [3, 6, 9, 10])
        for line in lines:
            taken = line["step"] - 1  # steps before this one
            rise, fall = 0.1 * taken / 4, 0.1 * (1 + math.cos(math.pi * (taken - 4) / 6)) / 2  # 0.8 · 32 / 256 = 0.1
            self.assertAlmostEqual(line["learning_rate"], rise if taken < 4 else fall, delta=1e-6)
            decay = 1 - 0.1 * (1 + math.cos(math.pi * taken / 10)) / 2
            self.assertAlmostEqual(line["target_decay"], decay, delta=1e-6)
            contrast = line["contrastive_augmentation"] + line["contrastive_semantic"]  # α = 1
            invariance = line["invariance_augmentation"] + line["invariance_semantic"]
            self.assertAlmostEqual(line["loss"], 0.3 * contrast + 0.1 * invariance, delta=1e-5)
            filled = sum(line[f"queue/class {digit}"] for digit in range(10))
            self.assertEqual(filled, min(48, 8 * line["step"]))
            self.assertAlmostEqual(line["queue/filled"], filled / 48, delta=1e-6)
            for name in ("pseudo_label_accuracy", "pseudo_label_coverage", "vote_confidence", "embedding_spread"):
                self.assertBetween(line[name], 0, 1)
            self.assertGreater(line["gradient_norm"], 0)
            self.assertEqual(line["with_semantic_positive"], 1)

    def test_the_views_stand_beside_their_image_and_change_from_step_to_step(self):
        workdir, _ = _a_run()
        events = event_accumulator.EventAccumulator(str(events_folder(workdir)), {"tensors": 0}).Reload()
        for tag, columns in (("views/large", 3), ("views/small", 1)):  # the image itself and two views; one view
            pictures = []
            for event in events.Tensors(tag)[:2]:
                width, height, png = tf.make_ndarray(event.tensor_proto)
                self.assertEqual((int(width), int(height)), (8 * columns, 8 * 8))
                pictures.append(tf.io.decode_png(png).numpy())
                self.assertGreater(pictures[-1].std(), 30)  # of 255: something is to be seen
            first, second = pictures
            self.assertNotAllEqual(first[:, -8:], second[:, -8:])
            if columns == 3:
                images = load_source("digits").train.images[[0, 214, 428, 642, 856, 1070, 1284, 1499]]
                self.assertAllClose(first[:, :8] / 255, np.concatenate(images), atol=0.004)
                self.assertAllEqual(first[:, :8], second[:, :8])
                self.assertNotAllEqual(first[:, 8:16], first[:, 16:])

    def test_a_terminal_shows_how_far_it_is_and_all_terms(self):
        _, shown = _a_run()
        self.assertRegex(
            shown,
            r"^semppl on digits: 1,500 images, 10 labelled, 10 classes; 10 steps; one CPU \(auto: .*tensorboard --logdir ",
        )
        bar = r"step 10/10  \[={24}\]  0:00 left  [\d.e+]+ images/s, \d+% waiting for data\x1b\[K\r\n"
        names = ("loss", "L_aug", "L_sem", "I_aug", "I_sem", "pseudo_labelled", "pseudo_acc")
        terms = "  ".join(rf"{name} [\d.]+" for name in names) + r"\x1b\[K\r\n"
        done = r"done: 10 steps, weights [0-9a-f]{12}…, in \S+\r\n"
        evaluate = r"  \S+.*evaluate --workdir=\S+\r\n"
        export = r"  \S+.*export\S* --workdir=\S+ --embedding=joint --answers=auto --export_dir=served/\S+/1\r\n"
        self.assertRegex(shown, bar + terms + done + r"next:\r\n" + evaluate + export + "$")

    def test_a_run_goes_on_with_another_cache(self):
        pictures = pathlib.Path(self.create_tempdir().full_path)
        for number in range(32):
            file = pictures / "pictures" / str(number % 2) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 1), np.uint8)
            file.write_bytes(tf.io.encode_png(pixels).numpy())
        changes = {
            "data": f"folder:{pictures}/pictures?labels=folders",
            "recipe": "identity",
            "steps": 2,
            "warmup_steps": 0,
        }
        for cache in ("one", "another"):
            folder = str(pictures / cache)
            with contextlib.redirect_stderr(io.StringIO()):
                printed = _train(pictures / "run", changes=changes | {"cache_dir": folder})
            self.assertNotEmpty(list(pictures.glob(f"{cache}/pictures-*/*")))
            self.assertEqual(Hyperparameters.load(pictures / "run").cache_dir, folder)
        self.assertIn("finished already", printed)

    @testing.slow
    def test_the_baseline_trains_too(self):
        workdir = self.create_tempdir().full_path
        _train(workdir, changes={"method": "supervised", "labelled_batch_size": 0, "steps": 6}, log_every=2)
        lines = _lines(workdir)
        self.assertEqual([line["step"] for line in lines], [2, 4, 6])
        self.assertBetween(lines[0]["loss"], 1, 5)
        self.assertEqual(set(lines[0]), {"step", "loss", "train_accuracy", "gradient_norm", "learning_rate"})


class DevicesTest(tf.test.TestCase):
    @testing.slow
    def test_compiled_and_mirrored_runs_report_the_same(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        # With the first seed two classes are so near in one vote that rounding decides.
        short = {"steps": 5, "warmup_steps": 0, "recipe": "identity", "small_views": 0, "seed": 1}
        two_replicas = mock.patch.object(strategy, "_mirrored", testing.two_replicas)
        _train(folder / "plain", changes=short, log_every=1)
        _train(folder / "compiled", changes=short, log_every=1, jit_compile="true")
        with two_replicas:
            printed = _train(folder / "mirrored", changes=short, log_every=1, strategy="mirrored")
        self.assertIn("2 CPUs, mirrored (asked for, but there is no GPU)", printed)
        plain = _lines(folder / "plain")
        self.assertNotAllClose(plain[0]["loss"], plain[-1]["loss"], atol=1e-2)
        for name in ("compiled", "mirrored"):
            lines = _lines(folder / name)
            self.assertEqual([line["step"] for line in lines], [1, 2, 3, 4, 5])
            for line, other in zip(lines, plain, strict=True):
                self.assertEqual(set(line), set(other))
                for key, value in other.items():
                    self.assertAllClose(
                        line[key], value, rtol=1e-4, atol=1e-5, msg=f"{name}, step {line['step']}, {key}"
                    )

    @testing.slow
    def test_steps_that_are_taken_several_at_once_are_the_same_steps(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        short = {"steps": 5, "warmup_steps": 0, "small_views": 0}
        _train(folder / "one", changes=short, log_every=1)
        _train(folder / "several", changes=short, log_every=1, steps_per_execution=2)
        self.assertEqual([line["step"] for line in _lines(folder / "several")], [2, 4, 5])
        for line, other in zip(
            _lines(folder / "several"), _lines(folder / "one")[1::2] + _lines(folder / "one")[-1:], strict=True
        ):
            self.assertAllClose(line, other, rtol=1e-5, atol=1e-6)
        for name, value in _checkpoint(folder / "one").items():
            self.assertAllClose(_checkpoint(folder / "several")[name], value, rtol=1e-5, atol=1e-6, msg=name)


class NotFiniteTest(tf.test.TestCase):
    def test_a_run_that_breaks_stops_and_saves_nothing_broken(self):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        broken = {"learning_rate": 1e30, "warmup_steps": 0, "optimiser": "adamw", "small_views": 0}
        with self.assertRaisesRegex(callbacks.NotFinite, r"^(step \d+: \w+ = |\S+ holds a NaN).*--learning_rate"):
            _train(workdir, changes=broken, checkpoint_every=1)
        self.assertFalse((workdir / "done.json").exists())
        for index in workdir.glob("checkpoints/*.index"):
            reader = tf.train.load_checkpoint(str(index).removesuffix(".index"))
            for name in reader.get_variable_to_shape_map():
                value = reader.get_tensor(name)
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    self.assertTrue(np.isfinite(value).all(), f"{index.name}: {name}")


class PrepareDataTest(parameterized.TestCase):
    @parameterized.parameters(
        (8, "every image has a label: --labelled_batch_size is 32, the whole batch, not 8\n"), (0, "")
    )
    def test_a_batch_is_labelled_as_a_whole_where_every_image_is(self, given, expected):
        changes = {"labels_per_class": 0, "label_fraction": 1.0, "labelled_batch_size": given}
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            _, _, resolved = pretrain.prepare_data(Hyperparameters(**_SETTINGS | changes), 1)
        self.assertEqual(resolved.labelled_batch_size, 32)
        self.assertEqual(printed.getvalue(), expected)

    def test_one_class_is_refused(self):
        source = load_source("digits")
        data = mock.Mock(source=dataclasses.replace(source, class_names=("cat",)), labels=source.train.labels * 0)
        with (
            mock.patch.object(pretrain, "load_data", return_value=data),
            self.assertRaisesRegex(
                ValueError, "^--data must have labels of two or more classes. Received: only 'cat'$"
            ),
        ):
            pretrain.prepare_data(Hyperparameters(**_SETTINGS), 1)

    def test_classes_with_nearly_the_same_name_are_warned_of_in_a_line(self):
        stage = mock.Mock(hyperparameters=Hyperparameters(**_SETTINGS), data={"images": 1, "labelled": 1}, first_step=0)
        for names, lines in ((("Dress", "hat", "dress", "shoes"), 1), (("dress", "hat"), 0)):
            stage.source.class_names = names
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                roles.Chief(pathlib.Path("run"), RunOptions(), mock.Mock()).announce(stage)
            warnings = [line for line in printed.getvalue().splitlines() if line.startswith("warning: ")]
            self.assertLen(warnings, lines)
            if lines:
                self.assertEndsWith(warnings[0], ", each trained as a class of its own: 'Dress' and 'dress'")

    def test_a_method_of_which_a_part_is_not_used_is_warned_of_in_a_line(self):
        for delay, lines in ((5, 1), (4, 0)):
            settings = Hyperparameters(**_SETTINGS | {"method": "simmatch", "steps": 5, "simmatch_delay_steps": delay})
            stage = mock.Mock(hyperparameters=settings, data={"images": 1, "labelled": 1}, first_step=0)
            stage.source.class_names = ("dress", "hat")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                roles.Chief(pathlib.Path("run"), RunOptions(), mock.Mock()).announce(stage)
            self.assertEqual(printed.getvalue().count("warning: SimMatch never uses its memory bank: "), lines)


class WrongFlagsTest(parameterized.TestCase):
    def _main(self, *arguments):
        """Runs the command in this process; returns the exit code and what stands on stderr."""
        errors = io.StringIO()
        with flagsaver.flagsaver(), contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            flags.FLAGS(["pretrain", *runs.TINY, *arguments])
            return pretrain.main(["pretrain"]), errors.getvalue()

    @parameterized.parameters(("recipe", RECIPES), ("optimiser", OPTIMISERS), ("precision", PRECISIONS))
    def test_help_lists_all_names(self, flag, names):
        (text,) = (field.metadata["help"] for field in dataclasses.fields(Hyperparameters) if field.name == flag)
        listed = text.partition(": ")[2].partition(".")[0]
        self.assertCountEqual(re.split(r", | or ", listed), names)

    @parameterized.parameters(
        ("imagenet", "--data must name an existing folder after folder:"),
        ("/nowhere.h5", "--initial_weights must be an existing file, or imagenet. Received: /nowhere.h5"),
    )
    def test_a_wrong_file_is_named_before_data_are_read_and_wrong_data_before_a_download(self, weights, message):
        colours = ("--pixel_mean=0.5,0.5,0.5", "--pixel_stddev=0.5,0.5,0.5", "--large_size=32", "--small_views=0")
        foreign = ("--encoder=keras:MobileNetV2", "--width=1", f"--initial_weights={weights}", "--data=folder:/nowhere")
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(imagenet, "imagenet_file", side_effect=AssertionError("a download")),
        ):
            code, errors = self._main(f"--workdir={folder}/run", *colours, *foreign)
        self.assertEqual(code, 2)
        self.assertStartsWith(errors, f"error: {message}")

    @parameterized.parameters(
        ("--data=nope", "--data must be one of digits, tfds, .* Received: nope; did you mean folder:nope."),
        ("--data=tfds:nope", "--data must be tfds:NAME with a NAME that .* knows. Received: tfds:nope"),
        (
            "--data=tfds:cifar10 --data_dir=/nowhere",
            "--data_dir must hold cifar10, prepared with .* Received: /nowhere",
        ),
        (
            "--encoder=resnet51",
            "--encoder must be convnet, .*docs/reference/encoders.md.* Received: resnet51; did you mean resnet50.*",
        ),
        ("--recipe=nope", "--recipe must be one of cifar, digits, .* Received: nope"),
        ("--method=nope", "--method must be one of .*semppl, .*supervised.* Received: nope"),
        ("--strategy=nope", "--strategy must be one of auto, default, mirrored, multiworker, tpu. Received: nope"),
        ("--strategy=default --tpu=local", "--tpu must come with --strategy=tpu or auto. Received: .*"),
        ("--strategy=multiworker", "--strategy must be auto, default .* Received: multiworker, without TF_CONFIG"),
        ("--jit_compile=nope", "--jit_compile must be auto, true or false. Received: nope"),
        (
            "--labels_per_class=500",
            "--labels_per_class must be at most 145, the labelled images of the smallest class, 8. Received: 500",
        ),
        ("--labels_per_class=0", "Exactly one of --labels_per_class, .* must be given. Received: none"),
        ("--labels_per_class=0 --label_list=/nowhere", "--label_list must be a file, .* Received: /nowhere"),
        (
            "--encoder=resnet9 --inference_size=8 --large_size=16 --widths=8,8,8",
            "--inference_size must be 9 or more with --encoder=resnet9. Received: 8",
        ),
        ("--batch_size=10", "--batch_size must be at least negatives . 1 = 11. Received: 10"),
        ("--queue_size=7", "--queue_size must be at least the labelled images of a batch, 8. Received: 7"),
        (
            "--pixel_mean=1,2,3 --pixel_stddev=1,2,3",
            "--channels must be 1, with --pixel_mean and --pixel_stddev to match, for these images. Received: 3",
        ),
        ("--pixel_mean=red", "--pixel_mean must be numbers with commas between. Received: red"),
        ("--warmup_steps=40", "--warmup_steps must be below the 40 steps. Received: 40"),
        (
            "--method=supervised",
            "--labelled_batch_size must be 0 or batch_size, with --method=supervised. Received: 8",
        ),
        ("--profile_steps=3", "--profile_steps must be FIRST,LAST in 1..40. Received: 3"),
        ("--profile_steps=39,41", "--profile_steps must be FIRST,LAST in 1..40. Received: 39,41"),
        ("--learning_rate=inf", "--learning_rate must be a finite number. Received: inf"),
        ("--seed=-1", r"--seed must be in 0..2\*\*32 - 1. Received: -1"),
    )
    def test_a_wrong_value_is_one_line_before_anything_is_written(self, arguments, message):
        with tempfile.TemporaryDirectory() as folder:
            code, errors = self._main(f"--workdir={folder}/run", *arguments.split())
            self.assertEqual(code, 2)
            self.assertRegex(errors, rf"\Aerror: {message}\n\Z")
            self.assertEmpty(os.listdir(folder))

    @parameterized.parameters("below", "")
    def test_a_folder_that_cannot_be_written_is_one_line(self, below):
        with tempfile.NamedTemporaryFile() as file:
            workdir = os.path.join(file.name, below) if below else file.name
            code, errors = self._main(f"--workdir={workdir}")
        self.assertEqual(code, 2)
        expected = rf"\Aerror: --workdir must be a folder that can be written\. Received: {workdir} \([\w ]+\)\n\Z"
        self.assertRegex(errors, expected)

    @parameterized.parameters(
        (callbacks.NotFinite("step 3: loss = nan"), 3, "error: step 3: loss = nan\n"),
        (NotWritten("no room"), 4, "error: no room\n"),
        (OSError(5, "broken", "a.png"), 2, "error: [Errno 5] broken: 'a.png'\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    )
    def test_every_end_has_its_exit_code(self, error, code, printed):
        with mock.patch.object(pretrain, "pretrain", side_effect=error):
            self.assertEqual(self._main("--workdir=nowhere"), (code, printed))

    def test_a_run_that_was_stopped_has_the_exit_code_of_the_signal(self):
        def stopped(*_, termination):
            termination.signal = signal.SIGTERM
            raise callbacks.Terminated

        with mock.patch.object(pretrain, "pretrain", side_effect=stopped):
            self.assertEqual(self._main("--workdir=nowhere"), (143, ""))


class CommandTest(parameterized.TestCase):
    @parameterized.parameters(
        (
            "--learning_rat=1",
            "Every flag must be one that --helpfull lists. Received: --learning_rat; did you mean learning_rate?",
        ),
        ("--steps=many", "--steps must be an integer. Received: many"),
        ("--data=tfds:nope", "--data must be tfds:NAME with a NAME that "),
    )
    def test_the_real_command_says_what_is_wrong_in_one_line(self, argument, message):
        with tempfile.TemporaryDirectory() as folder:
            run = runs.Run(pathlib.Path(folder, "run"), argument)
            self.assertEqual(run.wait(), 2)
            self.assertFalse(pathlib.Path(folder, "run").exists())
        self.assertEqual(run.stdout, "")
        self.assertRegex(run.stderr, rf"\Aerror: {re.escape(message)}[^\n]*\n\Z")


if __name__ == "__main__":
    tf.test.main()
