"""The first compilation by XLA of a process, without the lines that XLA writes on standard error."""

import functools

import tensorflow as tf

from semppl.runs.standard_error import silent_standard_error


@functools.cache
def compile_silently() -> None:
    """Compiles a small function before any other.

    XLA writes two lines at the first compilation of a process, whatever the log level is. Errors of later compilations are
    written as ever.
    """
    with tf.init_scope(), tf.device("/cpu:0"), silent_standard_error():
        tf.function(lambda x: x + 1.0, jit_compile=True, autograph=False)(tf.constant(1.0))
