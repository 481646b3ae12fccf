"""Keeps programs quiet: each imports this before TensorFlow; what its user can mend is told in a line."""

import functools
import logging
import os
import sys
from collections.abc import Callable

from absl import logging as absl_logging

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else TensorFlow greets with a dozen lines


def hush() -> None:
    """Lets libraries log warnings at least, TensorFlow's Python only errors."""
    absl_logging.set_verbosity(absl_logging.WARNING)  # tensorflow-datasets, for one, tells where it looked in vain
    logging.getLogger("tensorflow").setLevel("ERROR")  # of slow callbacks, assets, variables that nobody asked for


def program(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """Decorates a program's `main`: hushes libraries, and turns an error that its user can mend into one line on stderr.

    Args:
        main: takes the arguments that are left when flags are parsed, the program's name first; returns the exit code.

    Returns:
        The same, but ValueError and OSError are exit code 2.
    """

    @functools.wraps(main)
    def quiet_main(argv: list[str]) -> int:
        hush()
        try:
            return main(argv)
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return 2

    return quiet_main
