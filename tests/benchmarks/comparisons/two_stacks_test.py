"""Tests of semppl.benchmarks.comparisons.two_stacks."""

import json
import subprocess
import sys

from absl.testing import absltest

from semppl.benchmarks.comparisons import two_stacks

_ANSWERS = "import sys\nfor _ in sys.stdin: print('{\"step\": 0.5}', flush=True)"


class TwoStacksTest(absltest.TestCase):
    def test_a_worker_is_asked_as_often_as_it_answers(self):
        worker = self.enter_context(
            subprocess.Popen([sys.executable, "-c", _ANSWERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        self.assertEqual([two_stacks._ask(worker) for _ in range(3)], [json.loads('{"step": 0.5}')] * 3)
        worker.communicate()


if __name__ == "__main__":
    absltest.main()
