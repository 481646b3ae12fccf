"""Tests of semppl.trainers.devices.termination: processes that receive signals."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest, parameterized

import semppl
from semppl.trainers.devices.termination import Termination


def _start(*lines):
    """Starts a program with a Termination in it, and waits until it says that it is ready."""
    program = ["import ctypes, os, signal, time", "from semppl.trainers.devices.termination import Termination"]
    # As a terminal starts a program; one in the background of a script may ignore both.
    program += [
        "signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    ]
    program += ["with Termination(grace=1.0) as termination:", *(f"    {line}" for line in lines)]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", "\n".join(program)], stdout=subprocess.PIPE, text=True, env=environment
    )
    if process.stdout.readline() != "ready\n":
        raise AssertionError("the program did not start")
    return process


def _terminate(process, *numbers):
    """Sends signals, by default one SIGTERM; returns the exit code, what was printed, and the seconds that it took."""
    start = time.monotonic()
    for number in numbers or (signal.SIGTERM,):
        process.send_signal(number)
        time.sleep(0.2 * (len(numbers) > 1))
    printed, _ = process.communicate(timeout=60)
    return process.returncode, printed, time.monotonic() - start


_READY = "print('ready', flush=True)"
_CUT_OFF = "stopped on SIGTERM: the same command resumes from the last checkpoint, or starts again if there is none\n"
# Outside Python, as in a long operation of TensorFlow: no handler of Python's runs, not even after the signal.
_BUSY = "ctypes.CDLL(None).pause(), ctypes.CDLL(None).sleep(20)"


class TerminationTest(parameterized.TestCase):
    def test_where_nothing_is_underway_the_process_ends_at_once(self):
        code, printed, seconds = _terminate(_start(_READY, _BUSY))
        self.assertEqual((code, printed), (143, _CUT_OFF))
        self.assertLess(seconds, 0.9)

    def test_a_run_that_is_underway_ends_by_itself(self):
        waits = "while not termination.asked: time.sleep(0.01)"
        code, printed, _ = _terminate(_start("termination.underway = True", _READY, waits, "print('saved')"))
        self.assertEqual((code, printed), (0, "saved\n"))

    def test_a_run_that_does_not_end_is_ended(self):
        code, printed, seconds = _terminate(_start("termination.underway = True", _READY, _BUSY))
        self.assertEqual((code, printed), (143, _CUT_OFF))
        self.assertBetween(seconds, 0.9, 10)

    def test_a_save_may_take_its_time(self):
        save = "with termination.saving(): time.sleep(2.5), print('saved', flush=True)"
        code, printed, seconds = _terminate(_start("termination.underway = True", _READY, save, "time.sleep(20)"))
        self.assertEqual((code, printed), (143, f"saved\n{_CUT_OFF}"))
        self.assertBetween(seconds, 2, 10)

    @parameterized.parameters((signal.SIGINT, 130), (signal.SIGHUP, 129))
    def test_ctrl_c_and_a_closed_terminal_are_heard_as_sigterm_is(self, number, expected):
        waits = "while not termination.asked: time.sleep(0.01)"
        process = _start("termination.underway = True", _READY, waits, "exit(termination.exit_code)")
        self.assertEqual(_terminate(process, number)[:2], (expected, ""))
        self.assertEqual(_terminate(_start(_READY, _BUSY), number)[0], expected)

    @parameterized.parameters(signal.SIGTERM, signal.SIGINT)
    def test_a_second_signal_ends_a_run_at_once_even_while_it_saves(self, second):
        save = "with termination.saving(): time.sleep(20)"
        process = _start("termination.underway, termination.saved = True, 0", _READY, save)
        code, printed, seconds = _terminate(process, signal.SIGINT, second)
        expected = "stopped on SIGINT: nothing saved yet; the same command starts again\n"
        self.assertEqual((code, printed), (130, expected))
        self.assertLess(seconds, 5)

    def test_the_two_sighups_of_a_closed_terminal_are_one_request(self):
        save = "with termination.saving(): time.sleep(1.5), print('saved', flush=True)"
        process = _start("termination.underway = True", _READY, save, "os._exit(termination.exit_code)")
        self.assertEqual(_terminate(process, signal.SIGHUP, signal.SIGHUP)[:2], (129, "saved\n"))

    def test_a_signal_that_the_process_ignores_stays_ignored(self):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        with Termination():
            self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
            self.assertNotEqual(signal.getsignal(signal.SIGTERM), signal.SIG_IGN)

    def test_the_message_says_what_was_saved(self):
        termination = Termination()
        termination.signal, termination.saved = signal.SIGINT, 74
        self.assertEqual(
            termination.message(), "stopped on SIGINT: saved at step 74; the same command resumes from there"
        )

    def test_other_signals_do_not_stop_a_run(self):
        hears = "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'heard\\n'))"
        process = _start(hears, _READY, "time.sleep(20)")
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.stdout.readline(), "heard\n")
        self.assertIsNone(process.poll())
        self.assertEqual(_terminate(process)[0], 143)

    def test_afterwards_signals_are_handled_as_before(self):
        def handler(*_):
            pass

        former = signal.signal(signal.SIGTERM, handler)
        try:
            with Termination() as termination:
                self.assertIsNot(signal.getsignal(signal.SIGTERM), handler)
                self.assertFalse(termination.asked)
            self.assertIs(signal.getsignal(signal.SIGTERM), handler)
            self.assertEqual(signal.set_wakeup_fd(-1), -1)
        finally:
            signal.signal(signal.SIGTERM, former)

    def test_the_signal_can_be_taken_back_from_a_library_that_took_it(self):
        taken = "ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.c_void_p(1))"  # SIG_IGN, behind Python's back
        code, printed, _ = _terminate(_start(taken, "termination.listen_again()", _READY, _BUSY))
        self.assertEqual((code, printed), (143, _CUT_OFF))

    def test_one_that_does_not_listen_takes_nothing(self):
        former = signal.getsignal(signal.SIGTERM)
        Termination().listen_again()
        self.assertIs(signal.getsignal(signal.SIGTERM), former)

    def test_one_that_does_not_listen_is_never_asked(self):
        termination = Termination()
        with termination.saving():
            self.assertFalse(termination.asked)


if __name__ == "__main__":
    absltest.main()
