"""Keeps libraries quiet: a program imports this before TensorFlow, and calls `hush` first thing in its `main`."""

import logging
import os

from absl import logging as absl_logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else TensorFlow greets with a dozen lines


def hush() -> None:
    """Lets libraries log warnings at least, TensorFlow's Python only errors."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # tensorflow-datasets, for one, tells where it looked in vain
    logging.getLogger("tensorflow").setLevel("ERROR")  # of slow callbacks, assets, variables that nobody asked for
