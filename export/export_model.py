"""Turns a run into a SavedModel that plain TensorFlow, and TensorFlow Serving, load and run.

python -m semppl.export.export_model --workdir=runs/digits --export_dir=served/digits/1
"""

import os
import pathlib
import shutil
import sys
import tempfile

import tensorflow as tf
from absl import app, flags, logging

from semppl.configs import run_flags
from semppl.export.servable import Servable
from semppl.trainers import checkpoints

_EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Folder to write; its last part is the version, a number: …/digits/1."
)
_EMBEDDING = flags.DEFINE_string("embedding", "projections", "What is served: projections, or features.")


def export(workdir: str | pathlib.Path, export_dir: str | pathlib.Path, *, embedding: str = "projections") -> None:
    """Writes the latest checkpoint of a run as a SavedModel.

    It is written aside and renamed, so that a server that watches the folder never sees half of it.

    Args:
        workdir: of the run.
        export_dir: folder to write.
        embedding: projections or features.

    Raises:
        ValueError: if there is no run, or the folder is there already, or is no version number.
    """
    target = pathlib.Path(export_dir)
    if not target.name.isdecimal():
        raise ValueError(
            f"--export_dir must end in a version number, as TensorFlow Serving wants it. Received: {export_dir}"
        )
    if target.exists():
        raise ValueError(f"--export_dir must be a new folder; a served version never changes. Received: {export_dir}")
    hyperparameters, network, _ = checkpoints.load_online(workdir)
    servable = Servable(network, hyperparameters, embedding=embedding)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        tf.saved_model.save(servable, str(aside), signatures=servable.signatures())
        aside.chmod(0o755)
        os.rename(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells of every asset it writes
    try:
        export(run_flags.WORKDIR.value, str(_EXPORT_DIR.value), embedding=_EMBEDDING.value)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"exported to {_EXPORT_DIR.value}; signatures: serving_default = embed_bytes, embed_images")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flag_as_required("export_dir")
    app.run(main)


if __name__ == "__main__":
    run()
