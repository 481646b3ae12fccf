"""Imports a checkpoint of another project as a run, for evaluation, export, or as the start of another run.

python -m semppl.export.import_checkpoint --source=resnet_50_1x_1_pct.pkl --workdir=outputs/official
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import functools
import pathlib
from collections.abc import Callable
from typing import Any

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.programs import quiet, run_flags, setting_flags

flags.adopt_module_key_flags(run_flags)

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Checkpoint to import: an official pickle (SemPPL, ReLICv2, BYOL), a TensorFlow checkpoint or SavedModel of SimCLR, "
    "or weights of a Keras Applications ResNet (.h5, .keras).",
)
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
"""Hyper-parameters that are flags of this program, and their defaults in words."""

quiet.parse_flags(
    __name__,
    required=["source"],
    define=functools.partial(setting_flags.define_optional_flags, Hyperparameters, SETTINGS),
)

import tensorflow as tf

from semppl.export.foreign import haiku, keras_applications, simclr
from semppl.export.foreign.checkpoint import HEADS, ForeignCheckpoint
from semppl.export.memory.run_images import centre_crop_of
from semppl.layers.networks import OnlineNetwork
from semppl.runs import files, keras_weights
from semppl.runs.folder import write_trained_parts

_DEFAULTS: dict[str, Any] = {"data": "tfds:imagenet2012", "recipe": "imagenet", "large_size": 224}
_COLOURS = 3  # every supported checkpoint was trained on RGB


def import_checkpoint(source: str | pathlib.Path, workdir: str | pathlib.Path, **settings: Any) -> ForeignCheckpoint:
    """Writes the network of another project's checkpoint as a run, atomically.

    A projector or predictor that the checkpoint lacks is initialised as in a new run with seed 0.

    Args:
        source: Path of the checkpoint.
        workdir: Folder to write; must be absent or empty.
        **settings: Hyper-parameters of the run; override the defaults and those that the checkpoint determines.

    Returns:
        The checkpoint.

    Raises:
        ValueError: if the source cannot be imported, or the folder is not empty or cannot be written.
        OSError: if the disk is full.
    """
    target = pathlib.Path(workdir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"--workdir must be a new or empty folder. Received: {workdir}, which holds something already")
    files.require_writable(target, "workdir")
    checkpoint = read(source)
    labels = {} if any(settings.get(name) for name in _LABELS) else {"label_fraction": 1.0}
    hyperparameters = Hyperparameters(**_DEFAULTS | labels | checkpoint.settings | settings)
    if hyperparameters.channels != _COLOURS:
        received = hyperparameters.pixel_mean
        raise ValueError(
            f"--pixel_mean must have a value per channel of the checkpoint, {_COLOURS}. Received: {received}"
        )
    centre_crop_of(hyperparameters)  # an unknown recipe is refused before the weights are read
    network = _build(hyperparameters)
    checkpoint.fill(network)
    with files.folder_written_aside(target) as aside:
        _write(network, checkpoint.step, aside)
        files.write_atomically(aside / "hyperparameters.json", hyperparameters.to_json())
        write_trained_parts(aside, ("encoder", *(head for head in HEADS if head not in checkpoint.lacks)))
    return checkpoint


def read(source: str | pathlib.Path) -> ForeignCheckpoint:
    """Reads a checkpoint of any supported format, which is recognised by the content of the file.

    Raises:
        ValueError: if the file does not exist or cannot be read.
    """
    path = pathlib.Path(source)
    reader: Callable[[pathlib.Path], ForeignCheckpoint] = haiku.read
    if simclr.find(path):
        reader = simclr.read
    elif path.is_dir():
        raise ValueError(f"--source must be a file, or a folder with a TensorFlow checkpoint. Received: {source}")
    elif not path.exists():
        raise ValueError(f"--source must be an existing file. Received: {source}")
    elif keras_weights.recognises(path):
        reader = keras_applications.read
    return reader(path)


def _build(hyperparameters: Hyperparameters) -> OnlineNetwork:
    tf.keras.utils.set_random_seed(hyperparameters.seed)
    network = OnlineNetwork(**hyperparameters.network, name="online")
    network.build([None, hyperparameters.large_size, hyperparameters.large_size, hyperparameters.channels])
    return network


def _write(network: OnlineNetwork, step: int, folder: pathlib.Path) -> None:
    """Saves the network in the layout that `checkpoints.load_online` reads."""
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(online=network))
    manager = tf.train.CheckpointManager(checkpoint, str(folder / "checkpoints"), max_to_keep=1, checkpoint_name="step")
    manager.save(checkpoint_number=step)


def _settings_from_flags() -> dict[str, Any]:
    settings = {name: setting_flags.value_of_flag(name) for name in SETTINGS}
    return {name: value for name, value in settings.items() if value is not None}


@quiet.program
def main(argv: list[str]) -> int:
    """Imports the checkpoint that the flags name; returns the exit code."""
    del argv
    try:
        checkpoint = import_checkpoint(str(_SOURCE.value), run_flags.WORKDIR.value, **_settings_from_flags())
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise ValueError(str(error).splitlines()[0]) from error
    network = (
        f"{checkpoint.settings['encoder']}, width {checkpoint.settings['width']:g}, {counted(checkpoint.step, 'step')}"
    )
    print(f"imported to {run_flags.WORKDIR.value}: {checkpoint.origin}, {network}")
    if checkpoint.lacks:
        print(f"not in the checkpoint, and untrained: {' and '.join(checkpoint.lacks)}; use features, not projections")
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
