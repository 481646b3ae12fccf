"""The flag --batch_size of the programs that do not train; in training it is a hyper-parameter."""

from absl import flags

_NAME = "batch_size"


def define(default: int, meaning: str) -> None:
    """Defines the flag: in a program's `run`, for a module that does so when imported could not be imported beside training."""
    flags.DEFINE_integer(_NAME, default, meaning, lower_bound=1)


def value() -> int:
    """Returns the value on the command line, or the default."""
    return int(flags.FLAGS[_NAME].value)
