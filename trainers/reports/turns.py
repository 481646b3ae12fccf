"""Intervals of steps."""

_MIN_STEPS = 100


class Turn:
    """Interval of steps that ends at the first step at or after a multiple, since several steps can be taken at once.

    Args:
        every: Steps between ends.
        step: Step at which this process starts.
    """

    def __init__(self, every: int, step: int) -> None:
        self._every = every
        self._turns = step // every

    def comes_at(self, step: int) -> bool:
        """Returns whether an interval has ended since the last call."""
        before, self._turns = self._turns, step // self._every
        return self._turns > before


def tenth(last_step: int) -> int:
    """Returns a tenth of a run's steps, and at least 100: the interval of what takes longer than a step."""
    return max(_MIN_STEPS, -(-last_step // 10))
