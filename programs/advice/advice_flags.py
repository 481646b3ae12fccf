"""Flags of the programs that advise on labels: what makes the features, and how many pictures to list."""

from typing import Any

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import data_flags, hyperparameter_flags, model_flags, place_flags, run_flags

# Here, because two modules that define the same flag cannot be imported together.
COUNT = flags.DEFINE_integer("count", 50, "Number of pictures to list.", lower_bound=1)
KEYS = ("workdir", "model", "encoder", "initial_weights", "large_size", "data", "cache_dir", "preset", "out")
"""Flags that --help lists for such a program, beside its own."""


def accept_encoder() -> None:
    """Lets --encoder stand in place of --workdir; a `define` of `quiet.parse_flags`."""
    run_flags.accept_instead("encoder")


def check() -> None:
    """Checks that a run, a model or an encoder is named, and no flag that has no effect.

    Raises:
        ValueError: If not exactly one is named, or a setting of training stands beside a run or a model.
    """
    named = [name for name in ("workdir", "model") if flags.FLAGS[name].value]
    if len(named) > 1:
        raise ValueError(f"--model must be left out beside --workdir. Received: {flags.FLAGS['model'].value}")
    if not named:
        hyperparameter_flags.hyperparameters_from_flags()
        return
    settings = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(hyperparameter_flags)}
    for name in sorted(settings - {*data_flags.NAMES, *place_flags.NAMES}):
        if flags.FLAGS[name].present:
            raise ValueError(f"--{name} must be left out beside --{named[0]}. Received: {flags.FLAGS[name].value}")


def source_from_flags() -> tuple[str, str, dict[str, Any] | Hyperparameters]:
    """Returns what makes the features: the flag's name, its value, and the settings.

    The settings are those of moved data for "workdir" and "model", and `Hyperparameters` for "encoder".
    """
    for name in ("workdir", "model"):
        if flags.FLAGS[name].value:
            return name, str(flags.FLAGS[name].value), place_flags.moved_from_flags()
    settings = hyperparameter_flags.hyperparameters_from_flags()
    return "encoder", settings.encoder, settings


def out_folder() -> str:
    """Returns --out."""
    return str(model_flags.OUT.value)
