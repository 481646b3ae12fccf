"""One flag per hyper-parameter, listed by group under --helpfull, for the programs that start from settings."""

import dataclasses

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import data_flags, setting_flags

flags.adopt_module_key_flags(data_flags)
for _field in dataclasses.fields(Hyperparameters):
    if _field.name not in data_flags.NAMES:
        setting_flags.define(_field)


def hyperparameters_from_flags() -> Hyperparameters:
    """Freezes the flags.

    Raises:
        ValueError: If a value is not allowed, in one line that names the flag.
    """
    names = [field.name for field in dataclasses.fields(Hyperparameters)]
    return Hyperparameters(**{name: setting_flags.value(name) for name in names})
