"""Turns a checkpoint of another project into a run that evaluation and export take for one of ours, and another can start from.

python -m semppl.export.import_checkpoint --source=resnet_50_1x_1_pct.pkl --workdir=outputs/official
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import tensorflow as tf
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.foreign import haiku, keras_applications, simclr
from semppl.export.foreign.checkpoint import ForeignCheckpoint
from semppl.layers.networks import OnlineNetwork
from semppl.programs import run_flags, setting_flags
from semppl.runs import files

flags.adopt_module_key_flags(run_flags)

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Checkpoint to import: an official pickle (SemPPL, ReLICv2, BYOL), a TensorFlow checkpoint or SavedModel of SimCLR, "
    "or weights of a Keras Applications ResNet (.h5, .keras).",
)
_DEFAULTS: dict[str, Any] = {"data": "tfds:imagenet2012", "recipe": "imagenet", "large_size": 224}
_COLOURS = 3  # all of them were trained on colour pictures
_LABELS = ("labels_per_class", "label_fraction", "label_list")
SETTINGS = {
    "data": "by default tfds:imagenet2012",
    "data_dir": "by default none",
    **dict.fromkeys(_LABELS, "by default every image has its label"),
    "label_seed": "by default 0",
    "recipe": "by default imagenet",
    "large_size": "by default 224",
    "pixel_mean": "by default what the checkpoint was trained with",
    "pixel_stddev": "by default what the checkpoint was trained with",
}
"""The hyper-parameters that are flags here, and their defaults in words."""


def import_checkpoint(source: str | pathlib.Path, workdir: str | pathlib.Path, **settings: Any) -> ForeignCheckpoint:
    """Writes a run folder with the network of another project's checkpoint.

    It is written aside and renamed, so that a folder is whole or not there. What the checkpoint lacks, a projector or a
    predictor, starts as in a new run with seed 0.

    Args:
        source: path of the checkpoint.
        workdir: folder to write; new or empty.
        **settings: hyper-parameters of the run, in place of the defaults and of what the checkpoint says.

    Returns:
        What was read.

    Raises:
        ValueError: if the source cannot be imported, or the folder is not empty; one line that says what to do.
        OSError: if the folder cannot be written.
    """
    target = pathlib.Path(workdir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"--workdir must be a new or empty folder. Received: {workdir}, which holds something already")
    checkpoint = read(source)
    labels = {} if any(settings.get(name) for name in _LABELS) else {"label_fraction": 1.0}
    hyperparameters = Hyperparameters(**_DEFAULTS | labels | checkpoint.settings | settings)
    if hyperparameters.channels != _COLOURS:
        given = hyperparameters.pixel_mean
        raise ValueError(f"--pixel_mean must have a value per channel of the checkpoint, {_COLOURS}. Received: {given}")
    network = _build(hyperparameters)
    checkpoint.fill(network)
    with files.folder_written_aside(target) as aside:
        _write(network, checkpoint.step, aside)
        files.write_atomically(aside / "hyperparameters.json", hyperparameters.to_json())
    return checkpoint


def read(source: str | pathlib.Path) -> ForeignCheckpoint:
    """Reads a checkpoint of any form that we know, told by its content.

    Raises:
        ValueError: if there is no file, or none that we can read.
    """
    path = pathlib.Path(source)
    reader: Callable[[pathlib.Path], ForeignCheckpoint] = haiku.read
    if simclr.find(path):
        reader = simclr.read
    elif path.is_dir():
        raise ValueError(f"--source must be a file, or a folder with a TensorFlow checkpoint. Received: {source}")
    elif not path.exists():
        raise ValueError(f"--source must be a file that is there. Received: {source}")
    elif keras_applications.recognises(path):
        reader = keras_applications.read
    return reader(path)


def _build(hyperparameters: Hyperparameters) -> OnlineNetwork:
    tf.keras.utils.set_random_seed(hyperparameters.seed)
    network = OnlineNetwork(**hyperparameters.network, name="online")
    network.build([None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels])
    return network


def _write(network: OnlineNetwork, step: int, folder: pathlib.Path) -> None:
    """Saves the network where `checkpoints.load_online` looks for it."""
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(online=network))
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "checkpoints"), max_to_keep=1, checkpoint_name="step")
    manager.save(checkpoint_number=step)


def _define_settings() -> None:
    """Defines flags for hyper-parameters: when run, not when imported, for pre-training has flags of the same names."""
    for field in dataclasses.fields(Hyperparameters):
        if field.name in SETTINGS:
            setting_flags.define_optional(field, SETTINGS[field.name])


def _settings_from_flags() -> dict[str, Any]:
    settings = {name: setting_flags.value_of_flag(name) for name in SETTINGS}
    return {name: value for name, value in settings.items() if value is not None}


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    try:
        checkpoint = import_checkpoint(str(_SOURCE.value), run_flags.WORKDIR.value, **_settings_from_flags())
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    network = f"{checkpoint.settings['encoder']}, width {checkpoint.settings['width']:g}, {checkpoint.step} steps"
    print(f"imported to {run_flags.WORKDIR.value}: {checkpoint.origin}, {network}")
    if checkpoint.lacks:
        print(f"not in the checkpoint, and untrained: {' and '.join(checkpoint.lacks)}; its features are what to use")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flag_as_required("source")
    _define_settings()
    quiet.run(main)


if __name__ == "__main__":
    run()
