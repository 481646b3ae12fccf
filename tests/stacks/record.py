"""Records what one stack writes, for the other to read: a run of twelve steps on digits, its figures, its export, and answers.

python -m semppl.tests.stacks.record tests/goldens/stacks/tf215    # and tf221, with Python of that stack
"""

import pathlib
import shutil
import sys

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.sources import load_source
from semppl.evaluation.evaluate import evaluate
from semppl.export.export_model import export
from semppl.trainers.pretrain import pretrain
from semppl.trainers.run_options import RunOptions

SETTINGS = {
    "labels_per_class": 2,
    "recipe": "digits",
    "large_views": 2,
    "small_views": 1,
    "large_size": 8,
    "small_size": 8,
    "encoder": "convnet",
    "width": 0.125,
    "head_width": 16,
    "embedding_width": 8,
    "pixel_mean": (0.3,),
    "pixel_stddev": (0.38,),
    "semantic_weight": 1.0,
    "invariance_weight": 0.1,
    "batch_size": 64,
    "labelled_batch_size": 16,
    "queue_size": 128,
    "steps": 12,
    "optimiser": "adamw",
    "learning_rate": 0.008,
    "warmup_steps": 2,
}


def pictures() -> list[bytes]:
    """Returns PNG and JPEG files of test digits, and one that is broken."""
    images = np.round(load_source("digits").test.images[:5] * 255).astype(np.uint8)
    encoded = [tf.io.encode_png(image).numpy() for image in images[:4]]
    return [*encoded, tf.io.encode_jpeg(images[4], quality=100).numpy(), encoded[0][:40]]


def answers(served: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the outputs of every signature of a SavedModel, by "signature/output"."""
    signatures = tf.saved_model.load(str(served)).signatures
    values = {"images": load_source("digits").test.images[:5], "bytes": pictures()}
    values["embedding"] = signatures["embed_images"](images=tf.constant(values["images"]))["embedding"]
    outputs = {}
    for name, signature in signatures.items():
        (argument,) = signature.structured_input_signature[1]
        for key, output in signature(**{argument: tf.constant(values[argument])}).items():
            outputs[f"{name}/{key}"] = output.numpy().astype(
                np.str_ if output.dtype == tf.string else output.dtype.as_numpy_dtype
            )
    return outputs


def record(folder: pathlib.Path) -> None:
    """Trains, evaluates, exports and answers, into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    tf.config.experimental.enable_op_determinism()
    pretrain(Hyperparameters(**SETTINGS), folder / "run", RunOptions(strategy="default", checkpoint_every=6))
    shutil.rmtree(folder / "run" / "tensorboard", ignore_errors=True)
    evaluate(folder / "run")
    export(folder / "run", folder / "served" / "1")
    np.savez_compressed(folder / "answers.npz", **answers(folder / "served" / "1"))


if __name__ == "__main__":
    record(pathlib.Path(sys.argv[1]))
