"""One flag per hyper-parameter, for programs that take the settings of a run."""

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import data_flags, place_flags
from semppl.programs.setting_flags import define_flags, values_of_flags

# Here, because two modules that define the same flag cannot be imported together.
define_flags(Hyperparameters, unless=(*data_flags.NAMES, *place_flags.NAMES))
flags.adopt_module_key_flags(place_flags)
flags.DEFINE_string(
    "preset",
    "",
    "[preset] Name of a preset, such as own_pictures_cpu, or path of a file of flags. Later flags override those of the preset.",
)


def hyperparameters_from_flags() -> Hyperparameters:
    """Returns the values of the flags as frozen `Hyperparameters`.

    Raises:
        ValueError: If a value is not allowed, in one line that names the flag.
    """
    return Hyperparameters(**values_of_flags(Hyperparameters))
