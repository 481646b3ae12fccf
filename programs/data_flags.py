"""Flags of the data settings that training and the programs on exported models share."""

import dataclasses
from typing import Any

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import setting_flags

NAMES = ("data", "data_dir", "image_feature", "label_feature", "name_feature", "max_pixels")

# Here, because two modules that define the same flag cannot be imported together.
setting_flags.define_flags(
    Hyperparameters, unless={field.name for field in dataclasses.fields(Hyperparameters)} - {*NAMES}
)


def data_from_flags() -> dict[str, Any]:
    """Returns the data settings that are set on the command line, by name.

    Raises:
        ValueError: If --data is not set.
    """
    present = {name: flags.FLAGS[name].value for name in NAMES if flags.FLAGS[name].present}
    if "data" not in present:
        raise ValueError("--data must name pictures, as in training: folder:PATH, tfds:NAME:SPLIT … Received: none")
    return present
