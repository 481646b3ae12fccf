"""Flags of programs on a run whose pictures or labels now lie elsewhere than when it began."""

import dataclasses
from typing import Any

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import data_flags, setting_flags

NAMES = ("validation", "test", "label_list", "cache_dir")

# Here, because two modules that define the same flag cannot be imported together.
setting_flags.define_flags(
    Hyperparameters, unless={field.name for field in dataclasses.fields(Hyperparameters)} - {*NAMES}
)
flags.adopt_module_key_flags(data_flags)


def moved_from_flags() -> dict[str, Any]:
    """Returns the settings of the data that are set on the command line, by name; the others are those of the run."""
    names = (*data_flags.NAMES, *NAMES)
    return {name: flags.FLAGS[name].value for name in names if flags.FLAGS[name].present}
