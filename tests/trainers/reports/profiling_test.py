"""Tests of semppl.trainers.reports.profiling."""

import pathlib
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from semppl.runs.folder import events_folder
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.trainers.reports import profiling


class ParseStepsTest(parameterized.TestCase):
    @parameterized.parameters(("1,1", (1, 1)), ("3,10", (3, 10)), (" 2 , 4 ", (2, 4)), ("", None))
    def test_two_steps_of_the_run_are_taken(self, text, expected):
        self.assertEqual(profiling.parse_steps(text, 10), expected)

    @parameterized.parameters("0,3", "4,3", "3,11", "3", "3,4,5", "a,b", ",", "-1,2", "1.5,3")
    def test_anything_else_is_one_line(self, text):
        with self.assertRaises(ValueError) as caught:
            profiling.parse_steps(text, 10)
        self.assertEqual(str(caught.exception), f"--profile_steps must be FIRST,LAST in 1..10. Received: {text}")


class _Model(tf.keras.Model):
    def __init__(self, step):
        super().__init__()
        self.compile(tf.keras.optimizers.SGD(jit_compile=False))
        self.optimizer.iterations.assign(step)


class ProfileTest(tf.test.TestCase, parameterized.TestCase):
    def _calls(self, ends, *, first=3, last=5, start=0, steps_at_once=1):
        """Takes steps up to each of the ends at once; returns what happens in between."""
        calls, model = [], _Model(start)
        profile = profiling.Profile(pathlib.Path("run"), first, last, steps_at_once=steps_at_once)
        profile.set_model(model)
        experimental = tf.profiler.experimental
        with (
            mock.patch.object(experimental, "start", side_effect=lambda folder: calls.append(f"start in {folder}")),
            mock.patch.object(experimental, "stop", side_effect=lambda: calls.append("stop")),
        ):
            for end in ends:
                profile.on_train_batch_begin(0)
                model.optimizer.iterations.assign(end)
                calls.append(end)
                profile.on_train_batch_end(0)
            profile.end()
        return calls

    def test_it_records_the_steps_that_it_is_told_to(self):
        expected = [1, 2, "start in run/tensorboard/run", 3, 4, 5, "stop", 6, 7]
        self.assertEqual(self._calls(range(1, 8)), expected)

    @parameterized.parameters((5, 5), (5, 6), (6, 7), (7, 8), (8, 8))
    def test_steps_that_are_taken_at_once_are_recorded_whole(self, first, last):
        calls = self._calls((4, 8, 12), first=first, last=last, steps_at_once=4)
        self.assertEqual(calls, [4, "start in run/tensorboard/run", 8, "stop", 12])

    def test_a_profile_goes_on_over_several_times_that_steps_are_taken(self):
        calls = self._calls((4, 8, 12, 13), first=4, last=5, steps_at_once=4)
        self.assertEqual(calls, ["start in run/tensorboard/run", 4, 8, "stop", 12, 13])

    def test_a_run_that_goes_on_behind_them_records_nothing(self):
        self.assertEqual(self._calls((6, 7), start=5), [6, 7])

    def test_a_run_that_stops_in_between_writes_what_there_is(self):
        self.assertEqual(self._calls((1, 2, 3)), [1, 2, "start in run/tensorboard/run", 3, "stop"])

    def test_a_profile_is_written_where_tensorboard_looks(self):
        workdir = pathlib.Path(self.create_tempdir().full_path)
        model, profile = _Model(0), profiling.Profile(workdir, 1, 1)
        profile.set_model(model)
        profile.on_train_batch_begin(0)
        model.optimizer.iterations.assign(1)
        profile.on_train_batch_end(0)
        self.assertLen(list((events_folder(workdir) / "plugins" / "profile").glob("*/*.xplane.pb")), 1)


if __name__ == "__main__":
    tf.test.main()
