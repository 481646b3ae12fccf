"""Tests of semppl.trainers.reports.callbacks."""

import contextlib
import json
import pathlib
import signal
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tensorboard.backend.event_processing import event_accumulator

from semppl.layers.embedding_queue import EmbeddingQueue
from semppl.runs.checkpoints import RunCheckpoints
from semppl.runs.folder import NotWritten, events_folder
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.trainers.devices.termination import Termination
from semppl.trainers.reports import callbacks
from semppl.trainers.reports.distributions import Distributions
from semppl.trainers.reports.views_grid import Views

_CLASSES = ("cat", "dog", "owl")


class _Model(tf.keras.Model):
    """A model whose step a test takes by hand."""

    def __init__(self, queue=True):
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=[3], initializer="ones")
        schedule = tf.keras.optimizers.schedules.PolynomialDecay(1.0, 100, 0.0)
        self.compile(tf.keras.optimizers.SGD(schedule, momentum=0.5, jit_compile=False))
        self.optimizer.build([self.weight])
        if queue:
            self.queue = EmbeddingQueue(1, 8, 2, name="queue")

    def step(self, gradient=(1.0, 1.0, 1.0)):
        self.optimizer.apply_gradients([(tf.constant(gradient), self.weight)])


class _Case(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.create_tempdir().full_path)
        self.warnings = []

    def summaries(self, model=None, *, first_step=0, last_step=12, every=5):
        summaries = callbacks.Summaries(
            self.workdir,
            first_step=first_step,
            last_step=last_step,
            every=every,
            class_names=_CLASSES,
            warn=self.warnings.append,
        )
        summaries.set_model(model or _Model())
        return summaries

    def run_to(self, summaries, step, logs=None):
        while summaries.model.optimizer.iterations < step:
            summaries.model.step()
            number = float(summaries.model.optimizer.iterations)
            summaries.on_train_batch_end(0, {"loss": number / 3} if logs is None else logs)

    def lines(self):
        return [json.loads(line) for line in (self.workdir / "metrics.jsonl").read_text().splitlines()]

    def events(self):
        events = event_accumulator.EventAccumulator(str(events_folder(self.workdir)))
        return events.Reload()


class StopOnNotFiniteTest(_Case):
    @parameterized.parameters(float("nan"), float("inf"), -float("inf"))
    def test_a_term_that_is_no_number_stops_the_run_and_is_named(self, value):
        stop, model = callbacks.StopOnNotFinite(), _Model()
        stop.set_model(model)
        model.step()
        stop.on_train_batch_end(0, {"loss": 1.0, "contrastive_semantic": 0.0})
        with self.assertRaises(callbacks.NotFinite) as caught:
            stop.on_train_batch_end(0, {"loss": 1.0, "contrastive_semantic": value, "gradient_norm": np.float32(value)})
        message = str(caught.exception)
        self.assertStartsWith(message, f"step 1: contrastive_semantic = {value}, gradient_norm = {value}. ")
        self.assertIn("Try a lower --learning_rate", message)
        self.assertNotIn("\n", message)


class SummariesTest(_Case):
    def test_every_few_steps_and_the_last_are_reported(self):
        self.run_to(self.summaries(last_step=12, every=5), 12)
        self.assertEqual([line["step"] for line in self.lines()], [5, 10, 12])

    def test_a_run_that_goes_on_reports_the_same_steps(self):
        model = _Model()
        self.run_to(self.summaries(model), 7)
        self.run_to(self.summaries(model, first_step=7), 12)  # 5 steps of its own: no reason to report the fifth
        self.assertEqual([line["step"] for line in self.lines()], [5, 10, 12])

    def test_lines_that_come_again_are_dropped_and_so_is_one_that_was_cut_short(self):
        self.run_to(self.summaries(), 10)
        with (self.workdir / "metrics.jsonl").open("a") as file:
            file.write('{"step": 12, "lo')
        model = _Model()
        model.optimizer.iterations.assign(7)
        self.run_to(self.summaries(model, first_step=7), 12)
        self.assertEqual([line["step"] for line in self.lines()], [5, 10, 12])

    @parameterized.parameters("", "\n", "5\n", "[]\n", '{"loss": 1}\n', "nonsense\n")
    def test_lines_of_something_else_are_dropped(self, text):
        (self.workdir / "metrics.jsonl").write_text(text)
        self.run_to(self.summaries(first_step=0), 5)
        self.assertEqual([line["step"] for line in self.lines()], [5])

    def test_a_line_at_the_step_that_the_run_goes_on_from_stays(self):
        self.run_to(self.summaries(), 10)
        self.summaries(first_step=5)
        self.assertEqual([line["step"] for line in self.lines()], [5])

    def test_where_several_steps_are_taken_at_once_the_end_of_them_is_reported(self):
        summaries = self.summaries(last_step=30, every=5)
        for end in (4, 8, 12, 14, 20, 30):
            while summaries.model.optimizer.iterations < end:
                summaries.model.step()
            summaries.on_train_batch_end(0, {})
        self.assertEqual([line["step"] for line in self.lines()], [8, 12, 20, 30])

    def test_numbers_are_written_to_seven_digits_however_small(self):
        self.run_to(self.summaries(every=1), 1, {"a": 1.23456789e-9, "b": 123456.789, "c": np.float32(0.1)})
        (line,) = self.lines()
        self.assertEqual((line["a"], line["b"], line["c"]), (1.234568e-9, 123456.8, 0.1))

    def test_an_accuracy_of_no_image_is_reported_nowhere(self):
        logs = {"pseudo_label_accuracy": 0.0, "pseudo_label_coverage": 0.5, "pseudo_labels_judged": 0.0}
        self.run_to(self.summaries(every=1), 1, logs)
        (line,) = self.lines()
        self.assertEqual((line["pseudo_label_coverage"], line["pseudo_labels_judged"]), (0.5, 0.0))
        self.assertNotIn("pseudo_label_accuracy", line)
        tags = self.events().Tags()["tensors"]
        self.assertIn("accuracy/pseudo_label_coverage", tags)
        self.assertNotIn("accuracy/pseudo_label_accuracy", tags)

    def test_the_learning_rate_is_that_of_the_step(self):
        self.run_to(self.summaries(every=1), 3)
        self.assertAllClose([line["learning_rate"] for line in self.lines()], [1.0, 0.99, 0.98], rtol=1e-6)

    def test_the_queue_is_counted_by_class(self):
        model = _Model()
        model.queue.labels.assign([0, 2, 2, -1, -1, 2, -1, 0])
        self.run_to(self.summaries(model, every=1), 1)
        (line,) = self.lines()
        names = ("filled", "fewest_of_a_class", "class cat", "class dog", "class owl")
        self.assertEqual([line[f"queue/{name}"] for name in names], [5 / 8, 0, 2, 0, 3])

    def test_many_classes_are_not_listed(self):
        with mock.patch.object(callbacks.Summaries, "_MAX_CLASSES_BY_NAME", 2):
            self.run_to(self.summaries(every=1), 1)
        self.assertIn("queue/fewest_of_a_class", self.lines()[0])
        self.assertNotIn("queue/class cat", self.lines()[0])

    def test_a_method_without_a_queue_reports_none(self):
        self.run_to(self.summaries(_Model(queue=False), every=1), 1)
        self.assertEqual(set(self.lines()[0]), {"step", "loss", "learning_rate"})

    def test_tensorboard_gets_the_same_numbers_at_once(self):
        summaries = self.summaries(_Model(queue=False), every=2)
        self.run_to(summaries, 4)
        scalars = self.events()  # of a run that has not ended
        tensors = {tag: scalars.Tensors(tag) for tag in scalars.Tags()["tensors"]}
        for tag, name in (("loss/loss", "loss"), ("optimisation/learning_rate", "learning_rate")):
            self.assertEqual([event.step for event in tensors[tag]], [2, 4])
            values = [tf.make_ndarray(event.tensor_proto) for event in tensors[tag]]
            self.assertAllClose(values, [line[name] for line in self.lines()], rtol=1e-6)

    @parameterized.parameters((1, 1), (2, 1), (3, 3), (7, 3))
    def test_channels_are_shown_that_a_picture_can_show(self, channels, shown):
        views = np.random.default_rng(0).uniform(size=(2, 3, 4, 5, channels))
        self.assertEqual(callbacks.grid(views).shape, (12, 10, shown))
        np.testing.assert_array_equal(callbacks.grid(views)[4:8, 5:], views[1, 1, ..., :shown])

    def test_views_are_shown_beside_their_image_with_an_image_a_row_and_their_names(self):
        rng = np.random.default_rng(0)
        plain, large = (rng.uniform(size=(*shape, 8, 4, 4, 1)).astype(np.float32) for shape in ((), (3,)))
        views = Views(
            tuple(f"{number}.png" for number in range(8)), plain, large, np.zeros((0, 8, 2, 2, 1), np.float32)
        )
        self.summaries().views(views, 7)
        events = self.events()
        self.assertEqual([tag for tag in events.Tags()["tensors"] if "views" in tag], ["views/large"])
        (event,) = events.Tensors("views/large")
        width, height, png = tf.make_ndarray(event.tensor_proto)
        self.assertEqual((int(width), int(height), event.step), (4 * 4, 8 * 4, 7))  # eight images, four columns
        picture = tf.io.decode_png(png).numpy() / 255
        for image in range(8):
            for column, expected in enumerate([plain[image], *large[:, image]]):
                tile = picture[4 * image : 4 * image + 4, 4 * column : 4 * column + 4]
                self.assertAllClose(tile, expected, atol=0.004)
        described = events.SummaryMetadata("views/large").summary_description
        self.assertEndsWith(described, "Rows from the top: " + ", ".join(f"`{number}.png`" for number in range(8)))

    def test_similarities_are_histograms_and_confusions_an_image(self):
        values = {"of_own_class": np.array([0.25, 0.75]), "of_another_class": np.zeros(0)}
        self.summaries().distributions(Distributions(values, np.array([[1, 3], [0, 2]])), 7)
        events = self.events()
        self.assertCountEqual(events.Tags()["tensors"], ["similarities/of_own_class", "pseudo_labels/confusion"])
        (event,) = events.Tensors("similarities/of_own_class")
        buckets = tf.make_ndarray(event.tensor_proto)  # lower edge, upper edge, count
        self.assertEqual((event.step, buckets[0, 0], buckets[-1, 1], buckets[:, 2].sum()), (7, 0.25, 0.75, 2))
        (event,) = events.Tensors("pseudo_labels/confusion")
        picture = tf.io.decode_png(tf.make_ndarray(event.tensor_proto)[2]).numpy()[64::128, 64::128, 0]
        self.assertAllClose(picture / 255, [[0.25, 0.75], [0, 1]], atol=0.004)

    def test_views_are_made_at_the_start_and_ten_times(self):
        model, written = _Model(), []
        callback = callbacks.ShowViews(
            lambda step: f"views of {step}", lambda *those: written.append(those), first_step=250, last_step=2000
        )
        callback.set_model(model)
        for step in range(260, 2001, 20):
            model.optimizer.iterations.assign(step)
            callback.on_train_batch_end(0, {})
        self.assertEqual([step for _, step in written], [250, *range(400, 2001, 200)])
        self.assertTrue(all(views == f"views of {step}" for views, step in written))

    def test_the_first_cards_say_what_they_show(self):
        self.run_to(self.summaries(every=1), 1, {"pseudo_label_coverage": 0.5, "embedding_spread": 0.9})
        events = self.events()
        self.assertIn(
            "received a pseudo-label", events.SummaryMetadata("accuracy/pseudo_label_coverage").summary_description
        )
        scalars = [tag for tag in events.Tags()["tensors"] if not tag.startswith("views/")]
        self.assertEqual(min(scalars), "accuracy/pseudo_label_coverage")

    def test_tensorboard_calls_the_run_by_its_name(self):
        self.summaries()
        (folder,) = (self.workdir / "tensorboard").iterdir()
        self.assertEqual(folder.name, self.workdir.name)

    def test_collapsed_embeddings_are_told_once(self):
        self.run_to(self.summaries(every=1), 1, {"embedding_spread": 0.02})
        self.assertEmpty(self.warnings)
        self.run_to(self.summaries(every=1), 3, {"embedding_spread": 0.009})
        self.assertLen(self.warnings, 1)
        self.assertRegex(
            self.warnings[0],
            r"^warning: step 1: the embeddings have all but collapsed \(spread 0\.0090\); try a lower --learning_rate$",
        )

    def test_a_full_disk_says_so(self):
        summaries = self.summaries(every=1)
        full = mock.patch.object(type(summaries._lines), "open", side_effect=OSError(28, "No space left on device"))
        with full, self.assertRaisesRegex(NotWritten, "No space left on device"):
            self.run_to(summaries, 1)


class WarnOfIdlePseudoLabelsTest(tf.test.TestCase, parameterized.TestCase):
    def run_with(self, coverages, last_step=10_000, first_step=0, at_once=1):
        warnings, model = [], _Model()
        callback = callbacks.WarnOfIdlePseudoLabels(
            min_vote_share=0.75, first_step=first_step, last_step=last_step, warn=warnings.append
        )
        callback.set_model(model)
        model.optimizer.iterations.assign(first_step)
        for coverage in coverages:
            model.optimizer.iterations.assign_add(at_once)
            callback.on_train_batch_end(0, {} if coverage is None else {"pseudo_label_coverage": coverage})
        return warnings

    def test_a_window_in_which_nothing_gets_a_class_is_told_once(self):
        (warning,) = self.run_with([0.5, 0.0] * 250 + [0.01] * 1500)
        self.assertStartsWith(
            warning, "warning: step 1000: 1.0% of the unlabelled images got a pseudo-label in the last 500"
        )
        self.assertIn("--min_vote_share (now 0.75)", warning)

    @parameterized.named_parameters(
        ("enough", [0.021] * 600), ("not yet a window", [0.0] * 499), ("a method without votes", [None] * 600)
    )
    def test_nothing_is_told_of(self, coverages):
        self.assertEmpty(self.run_with(coverages))

    def test_a_window_has_as_many_steps_however_many_are_taken_at_once(self):
        (warning,) = self.run_with([0.0] * 5, first_step=300, at_once=100)
        self.assertStartsWith(warning, "warning: step 800: 0.0%")
        self.assertIn("in the last 500 steps", warning)
        self.assertEmpty(self.run_with([0.0] * 4, first_step=300, at_once=100))

    def test_a_short_run_is_told_at_its_end(self):
        (warning,) = self.run_with([0.0] * 20, last_step=20)
        self.assertIn("0.0% of the unlabelled images got a pseudo-label in the last 20 steps", warning)


class GridTest(_Case):
    def test_views_stand_side_by_side_and_images_below_each_other(self):
        views = np.arange(2 * 3 * 4 * 5 * 1).reshape(2, 3, 4, 5, 1)
        picture = callbacks.grid(views)
        self.assertEqual(picture.shape, (12, 10, 1))
        for view in range(2):
            for image in range(3):
                self.assertAllEqual(picture[4 * image : 4 * image + 4, 5 * view : 5 * view + 5], views[view, image])


class CheckpointingTest(_Case):
    def _checkpointing(self, model, *, every=4, last_step=10, termination=None):
        checkpointing = callbacks.Checkpointing(
            RunCheckpoints(model, self.workdir), every=every, last_step=last_step, termination=termination
        )
        checkpointing.set_model(model)
        return checkpointing

    def test_a_step_is_saved_minutes_after_the_last_checkpoint_and_the_time_counts_from_there(self):
        model, now = _Model(), [0.0]
        checkpoints = RunCheckpoints(model, self.workdir)
        termination = Termination()
        checkpointing = callbacks.Checkpointing(
            checkpoints, every=5, minutes=0.5, last_step=99, termination=termination, clock=lambda: now[0]
        )
        checkpointing.set_model(model)
        saved = []
        for step in range(1, 12):
            now[0] += 11
            model.step()
            checkpointing.on_train_batch_end(0, {})
            if step in self._saved():
                saved.append(step)
                self.assertEqual(termination.saved, step)
        self.assertEqual(saved, [3, 5, 8, 10])

    def _saved(self):
        names = (path.name for path in (self.workdir / "checkpoints").glob("*.index"))
        return sorted(int(name.removeprefix("step-").removesuffix(".index")) for name in names)

    def test_every_few_steps_and_the_last_are_saved(self):
        model = _Model()
        checkpointing, saved = self._checkpointing(model), {}
        for step in range(1, 11):
            model.step()
            checkpointing.on_train_batch_end(0, {})
            saved[step] = self._saved()
        self.assertEqual([step for step in saved if step in saved[step]], [4, 8, 10])

    def test_where_several_steps_are_taken_at_once_the_end_of_them_is_saved(self):
        model = _Model()
        model.step()
        checkpointing, saved = self._checkpointing(model), []
        for end in (4, 7, 10):
            while model.optimizer.iterations < end:
                model.step()
            checkpointing.on_train_batch_end(0, {})
            saved.append(self._saved())
        self.assertEqual(saved, [[4], [4], [4, 10]])

    def test_when_asked_to_stop_it_saves_and_stops(self):
        model, termination = _Model(), Termination()
        checkpointing = self._checkpointing(model, termination=termination)
        self.assertFalse(termination.underway)
        model.step()
        checkpointing.on_train_batch_end(0, {})
        self.assertTrue(termination.underway)
        self.assertEmpty(self._saved())
        termination.signal = signal.SIGTERM
        model.step()
        with self.assertRaises(callbacks.Terminated):
            checkpointing.on_train_batch_end(0, {})
        self.assertEqual((self._saved(), termination.saved), ([2], 2))

    def test_when_asked_to_stop_in_the_last_step_the_run_simply_ends(self):
        model, termination = _Model(), Termination()
        checkpointing = self._checkpointing(model, last_step=1, termination=termination)
        termination.signal = signal.SIGTERM
        model.step()
        checkpointing.on_train_batch_end(0, {})
        self.assertEqual(self._saved(), [1])

    def test_a_save_is_not_cut_short(self):
        model, termination = _Model(), Termination()
        checkpointing = self._checkpointing(model, every=1, termination=termination)
        guarded = []

        @contextlib.contextmanager
        def saving():
            guarded.append(self._saved())
            yield
            guarded.append(self._saved())

        model.step()
        with mock.patch.object(termination, "saving", saving):
            checkpointing.on_train_batch_end(0, {})
        self.assertEqual(guarded, [[], [1]])

    @parameterized.parameters(float("nan"), float("inf"))
    def test_what_is_not_finite_is_not_saved(self, value):
        model = _Model()
        checkpointing = self._checkpointing(model, every=1)
        model.step()
        checkpointing.on_train_batch_end(0, {})
        model.step(gradient=(0.0, value, 0.0))
        with self.assertRaisesRegex(callbacks.NotFinite, "^weight:0 holds a NaN or infinity. .* --learning_rate"):
            checkpointing.on_train_batch_end(0, {})
        self.assertEqual(self._saved(), [1])

    def test_the_optimiser_must_be_finite_too(self):
        model = _Model()
        checkpointing = self._checkpointing(model, every=1)
        model.step()
        model.optimizer.variables[-1].assign([0.0, float("nan"), 0.0])
        with self.assertRaises(callbacks.NotFinite):
            checkpointing.on_train_batch_end(0, {})
        self.assertEmpty(self._saved())


if __name__ == "__main__":
    tf.test.main()
