"""Tests of semppl.trainers.reports.progress."""

import io
import os
import re
from unittest import mock

from absl.testing import absltest, parameterized

from semppl.trainers.reports.progress import Progress, duration

_LOGS = {
    "loss": 3.42274,
    "contrastive_augmentation": 1.62941,
    "contrastive_semantic": 1.71093,
    "invariance_augmentation": 0.40261,
    "invariance_semantic": 0.42187,
    "pseudo_label_accuracy": 0.33931,
    "gradient_norm": 7.0,
}
_TERMS = "loss 3.423  L_aug 1.629  L_sem 1.711  I_aug 0.4026  I_sem 0.4219  pseudo_acc 0.3393"


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _run(stream, times, *, first_step=0, last_step=None, logs=_LOGS):
    """Ends a step at each of the times; returns what is written."""
    clock = iter(times)
    last_step = first_step + len(times) if last_step is None else last_step
    progress = Progress(
        first_step=first_step, last_step=last_step, batch_size=64, stream=stream, clock=lambda: next(clock)
    )
    for batch in range(len(times)):
        progress.on_train_batch_end(batch, logs)
    progress.leave()
    return stream.getvalue()


def _screen(written):
    """Plays what is written to a terminal, and returns the rows that stand there in the end."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[1A|\x1b\[K|\r|\n|[^\x1b\r\n]+", written):
        if token == "\x1b[1A":
            row -= 1
        elif token == "\x1b[K":
            rows[row] = rows[row][:column]
        elif token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        else:
            rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + len(token) :]
            column += len(token)
    return rows


class FileTest(parameterized.TestCase):
    def test_an_update_is_a_line_with_everything_on_it(self):
        # The first step ends at 100 s, then 64 images every 5 s.
        written = _run(io.StringIO(), [100.0, 105.0, 110.0], last_step=60)
        self.assertEqual(written, f"step 3/60  4:45 left  12.8 images/s  {_TERMS}\n")

    def test_updates_are_ten_seconds_apart_and_the_last_step_is_always_shown(self):
        times = [float(second) for second in range(1, 36)]
        lines = _run(io.StringIO(), times).splitlines()
        self.assertEqual(
            [line.split("  ")[0] for line in lines], ["step 11/35", "step 21/35", "step 31/35", "step 35/35"]
        )
        self.assertEqual([line.split("  ")[1] for line in lines], ["0:24 left", "0:14 left", "0:04 left", "0:00 left"])

    def test_an_accuracy_of_no_image_is_not_shown(self):
        written = _run(io.StringIO(), [0.0, 10.0], logs=_LOGS | {"pseudo_labels_judged": 0.0})
        self.assertIn("loss 3.423", written)
        self.assertNotIn("pseudo_acc", written)

    def test_slow_steps_are_all_shown(self):
        self.assertLen(_run(io.StringIO(), [0.0, 60.0, 120.0, 180.0]).splitlines(), 3)

    def test_the_rate_is_that_since_the_last_update(self):
        lines = _run(io.StringIO(), [0.0, 10.0, 40.0], last_step=9).splitlines()
        self.assertIn("  6.4 images/s  ", lines[0])
        self.assertIn("  2.133 images/s  ", lines[1])

    def test_a_run_that_goes_on_counts_the_whole_run_and_its_own_speed(self):
        written = _run(io.StringIO(), [1000.0, 1010.0], first_step=500, last_step=600)
        self.assertStartsWith(written, "step 502/600  16:20 left  6.4 images/s  ")  # 98 steps of 10 s

    def test_several_steps_may_be_taken_at_once(self):
        clock, stream = iter([100.0, 110.0, 120.0, 126.0]), io.StringIO()
        progress = Progress(first_step=0, last_step=14, batch_size=64, stream=stream, clock=lambda: next(clock))
        for batch in (3, 7, 11, 13):  # as Keras counts: the last of the steps
            progress.on_train_batch_end(batch, {})
        lines = stream.getvalue().splitlines()
        self.assertEqual(lines[0], "step 8/14  0:15 left  25.6 images/s")
        self.assertEqual(lines[1], "step 12/14  0:05 left  25.6 images/s")
        self.assertEqual(lines[2], "step 14/14  0:00 left  21.33 images/s")

    def test_the_share_of_time_spent_waiting_for_data_is_that_since_the_last_update(self):
        # 90 s in the first step count for nothing; then 2 of 10 s, none of 10 s, and 12 of 10 s, which clocks can tell.
        clock, waited, stream = iter([100.0, 110.0, 120.0, 130.0]), iter([90.0, 92.0, 92.0, 104.0]), io.StringIO()
        progress = Progress(
            first_step=0,
            last_step=4,
            batch_size=64,
            waited=lambda: next(waited),
            stream=stream,
            clock=lambda: next(clock),
        )
        for batch in range(4):
            progress.on_train_batch_end(batch, {})
        rates = [line.split("  ")[2] for line in stream.getvalue().splitlines()]
        self.assertEqual(rates, [f"6.4 images/s, {share}% waiting for data" for share in (20, 0, 100)])

    def test_a_run_of_one_step_is_shown(self):
        self.assertEqual(_run(io.StringIO(), [5.0]), f"step 1/1  0:00 left  {_TERMS}\n")

    def test_terms_that_a_method_has_not_are_left_out(self):
        written = _run(io.StringIO(), [0.0, 10.0], logs={"loss": 2.0, "train_accuracy": 0.5})
        self.assertEqual(written, "step 2/2  0:00 left  6.4 images/s  loss 2  train_acc 0.5\n")

    def test_a_terminal_that_can_do_nothing_is_a_file(self):
        with mock.patch.dict(os.environ, TERM="dumb"):
            self.assertNotIn("\x1b", _run(_Terminal(), [0.0, 20.0]))


class TerminalTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": "100"}))

    def test_two_rows_are_redrawn_in_place(self):
        written = _run(_Terminal(), [0.0, 1.0, 2.0, 3.0])
        self.assertEqual(written.count("\x1b[1A"), 2)
        self.assertEqual(_screen(written), [f"step 4/4  [{'=' * 24}]  0:00 left  64 images/s", _TERMS, ""])

    def test_the_bar_grows_with_the_whole_run(self):
        written = _run(_Terminal(), [0.0, 1.0], first_step=298, last_step=600)
        self.assertIn(f"step 300/600  [{'=' * 12}{' ' * 12}]  5:00 left", _screen(written)[0])

    def test_half_a_second_passes_between_updates(self):
        written = _run(_Terminal(), [0.0, 0.4, 0.6, 0.9, 1.2, 1.3], last_step=60)
        self.assertEqual(re.findall(r"step (\d+)", written), ["3", "5"])

    def test_shorter_numbers_leave_nothing_behind(self):
        stream = _Terminal()
        clock = iter([0.0, 1.0, 2.0])
        progress = Progress(first_step=0, last_step=9, batch_size=64, stream=stream, clock=lambda: next(clock))
        for batch, loss in enumerate((1.0, 123.4, 1.0)):
            progress.on_train_batch_end(batch, {"loss": loss})
        self.assertEqual(_screen(stream.getvalue())[1], "loss 1")

    @parameterized.parameters(20, 40, 60)
    def test_no_row_is_wider_than_the_terminal(self, columns):
        with mock.patch.dict(os.environ, COLUMNS=str(columns)):
            rows = _screen(_run(_Terminal(), [0.0, 1.0]))
        self.assertEqual([len(row) for row in rows[:2]], [columns - 1, columns - 1])

    def test_what_is_said_in_between_stays(self):
        stream = _Terminal()
        clock = iter([0.0, 1.0, 2.0])
        progress = Progress(first_step=0, last_step=3, batch_size=64, stream=stream, clock=lambda: next(clock))
        progress.on_train_batch_end(0, {"loss": 1.0})
        progress.on_train_batch_end(1, {"loss": 2.0})
        progress.say("warning: mind the gap")
        progress.on_train_batch_end(2, {"loss": 3.0})
        progress.leave()
        rows = _screen(stream.getvalue())
        self.assertEqual([rows[1], rows[2], rows[4]], ["loss 2", "warning: mind the gap", "loss 3"])
        self.assertEqual([row.split("  ")[0] for row in (rows[0], rows[3])], ["step 2/3", "step 3/3"])


class DurationTest(parameterized.TestCase):
    @parameterized.parameters(
        (0, "0:00"),
        (0.2, "0:01"),
        (59.5, "1:00"),
        (60, "1:00"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (90061, "25:01:01"),
    )
    def test_seconds_are_rounded_up(self, seconds, text):
        self.assertEqual(duration(seconds), text)


if __name__ == "__main__":
    absltest.main()
