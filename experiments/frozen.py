r"""Exports an encoder that answers from labelled pictures, without training: a run of no steps, and its export.

python -m semppl.experiments.frozen --data='folder:PICTURES?labels=labels.csv' \
  --test='folder:TEST_PICTURES?labels=folders' --cache_dir=cache --encoder=keras:MobileNetV2 --large_size=128 \
  --initial_weights=imagenet --workdir=outputs/frozen --export_dir=served/frozen/1
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import pathlib
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from absl import flags

from semppl.configs.choices import AUTO
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.objective import ObjectiveSettings
from semppl.configs.optimisation import OptimisationSettings
from semppl.experiments.untrained import UNTRAINED
from semppl.programs import quiet, run_flags
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags

flags.adopt_module_key_flags(run_flags)

_EXPORT = "semppl.export.export_model"

_EXPORTED: dict[str, Any] = {"embedding": "features", "answers": AUTO}
"""Settings of the export, unless given."""


_OF_TRAINING = {
    *UNTRAINED,
    *(f.name for group in (ObjectiveSettings, OptimisationSettings) for f in dataclasses.fields(group)),
}
for _name in {field.name for field in dataclasses.fields(Hyperparameters)} - _OF_TRAINING | {"seed", "initial_weights"}:
    flags.declare_key_flag(_name)  # --help shows it, and none of training


def _take_flags_of_export() -> None:
    """Lists in --help the flags of the export, with the defaults of `_EXPORTED`."""
    flags.adopt_module_key_flags(sys.modules[_EXPORT])
    for name, value in _EXPORTED.items():
        flags.FLAGS.set_default(name, value)


quiet.parse_flags(
    __name__,
    required=["workdir", "export_dir"],
    define=_take_flags_of_export,
    check=hyperparameters_from_flags,
    flags_of=_EXPORT,
)

from semppl.export import export_model  # parses the flags
from semppl.export.memory.judgement import summary
from semppl.export.model.versions import require_new
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions


def frozen(
    hyperparameters: Hyperparameters,
    workdir: pathlib.Path,
    export_dir: pathlib.Path,
    settings: Mapping[str, Any],
    *,
    command: str = "",
) -> dict[str, Any]:
    """Makes a run of no steps, and exports its encoder with the labelled images as its memory.

    Args:
        hyperparameters: Settings of data, pictures and encoder; settings of batches, heads and length are replaced.
        workdir: Folder of the run.
        export_dir: Folder to write, which must not exist; its name is the version number.
        settings: Settings of the export by the names of its flags; by default, the embedding is the features, and the most
            accurate answers are chosen.
        command: Command line, for the model card.

    Returns:
        The model card.

    Raises:
        ValueError: If a setting cannot be used, or the data cannot be read.
    """
    require_new(export_dir, flag="--export_dir")
    pretrain(dataclasses.replace(hyperparameters, **UNTRAINED), workdir, RunOptions(strategy="default"))
    return export_model.export_with(workdir, export_dir, _EXPORTED | dict(settings), command=command)


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    export_dir = flags.FLAGS.export_dir
    card = frozen(
        hyperparameters_from_flags(),
        pathlib.Path(run_flags.WORKDIR.value),
        pathlib.Path(export_dir),
        export_model.settings_from_flags(),
        command=shlex.join(["python", "-m", "semppl.experiments.frozen", *sys.argv[1:]]),
    )
    if "memory" in card:
        print(summary(card["memory"]))
    print(f"exported to {export_dir}")
    return 0


if __name__ == "__main__":
    quiet.run(main)
