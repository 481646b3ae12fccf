"""Tests of semppl.data.views.compilation: what a process writes on standard error when it compiles."""

import os
import pathlib
import subprocess
import sys

import tensorflow as tf

import semppl

_PROGRAM = """
import os
from semppl.programs import quiet
import tensorflow as tf
from semppl.data.views.compilation import compile_silently

def first(x):
    compile_silently()
    return x

dataset = tf.data.Dataset.from_tensors(1.0).map(first)  # where views are made: while a graph is traced
compile_silently()
os.write(2, b"heard\\n")
print(next(dataset.as_numpy_iterator()), float(tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(3.0))))
"""


class CompileUnheardTest(tf.test.TestCase):
    def _run(self, program):
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )

    def test_the_first_compilation_is_not_heard_and_what_follows_is(self):
        done = self._run(_PROGRAM)
        self.assertEqual((done.stdout, done.stderr), ("1.0 6.0\n", "heard\n"))


if __name__ == "__main__":
    tf.test.main()
