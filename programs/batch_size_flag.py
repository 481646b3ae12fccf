"""The flag --batch_size of programs that do not pre-train; in pre-training, --batch_size is a hyper-parameter."""

import dataclasses

from absl import flags

flags.disclaim_key_flags()  # --help lists the flag under the program that defines it


@dataclasses.dataclass(frozen=True)
class BatchSize:
    """The flag --batch_size, defined when a program runs: two modules that define the same flag cannot be imported together.

    Attributes:
        default: Default value.
        meaning: Help text.
    """

    default: int
    meaning: str

    def define(self, flag_values: flags.FlagValues = flags.FLAGS) -> None:
        """Defines the flag."""
        flags.DEFINE_integer("batch_size", self.default, self.meaning, lower_bound=1, flag_values=flag_values)

    @property
    def value(self) -> int:
        """The value on the command line, or the default."""
        value: int = flags.FLAGS["batch_size"].value  # type: ignore[assignment]
        return value
