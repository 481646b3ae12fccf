"""The flag that names held-out images to judge by, for training and for evaluation."""

import dataclasses

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import setting_flags

NAME = "test"

# Here, because two modules that define the same flag cannot be imported together.
setting_flags.define_flags(
    Hyperparameters, unless={field.name for field in dataclasses.fields(Hyperparameters)} - {NAME}
)
