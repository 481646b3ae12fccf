"""Intervals of steps."""


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
