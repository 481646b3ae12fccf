"""Tests of semppl.programs.process.children: processes whose parent is stopped."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from absl.testing import absltest, parameterized

import semppl
from semppl.programs.process.children import Children

_PARENT = """
import signal, sys, time
from semppl.programs.process.children import Children
signal.signal(signal.SIGINT, signal.default_int_handler)  # as a terminal starts a program
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with Children(grace={grace}) as children:
    child = children.start([sys.executable, "-c", {child!r}])
    time.sleep(60)
"""
_SAVES = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""
_DEAF = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: 0); print('ready', flush=True)\nwhile True: time.sleep(1)"


class ChildrenTest(parameterized.TestCase):
    def _stopped(self, number, *, grace, child=_SAVES):
        """Stops a parent; returns the exit code and what was printed before the last process closed the pipe."""
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        program = [sys.executable, "-c", _PARENT.format(grace=grace, child=child)]
        parent = subprocess.Popen(
            program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.assertEqual(parent.stdout.readline(), "ready\n")
        parent.send_signal(number)
        printed, _ = parent.communicate(timeout=30)
        return parent.returncode, printed

    @parameterized.parameters((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT))
    def test_a_parent_that_is_stopped_lets_its_child_save_first(self, number, code):
        self.assertEqual(self._stopped(number, grace=20), (code, "saved\n"))

    @parameterized.parameters(("0", _SAVES), ("0.3", _DEAF))
    def test_a_child_without_time_left_is_killed(self, grace, child):
        start = time.monotonic()
        self.assertEqual(self._stopped(signal.SIGTERM, grace=grace, child=child), (143, ""))
        self.assertLess(time.monotonic() - start, 10)

    @absltest.skipUnless(sys.platform == "linux", "other systems have no such signal")
    @parameterized.parameters((20, "saved\n"), (0, ""))
    def test_a_child_of_a_parent_that_is_killed_saves_and_ends(self, grace, printed):
        start = time.monotonic()
        self.assertEqual(self._stopped(signal.SIGKILL, grace=grace), (-signal.SIGKILL, printed))
        self.assertLess(time.monotonic() - start, 10)

    def test_an_error_stops_the_children_and_signals_are_handled_as_before(self):
        before = signal.getsignal(signal.SIGTERM)
        with self.assertRaises(KeyError), Children(grace=0) as children:
            process = children.start([sys.executable, "-c", "import time; time.sleep(60)"])
            raise KeyError
        self.assertEqual((process.returncode, signal.getsignal(signal.SIGTERM)), (-signal.SIGKILL, before))


if __name__ == "__main__":
    absltest.main()
