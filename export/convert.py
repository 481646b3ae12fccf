"""Converts an exported model to ONNX or TFLite, a file a signature, each compared with the model on real pictures.

python -m semppl.export.convert --model=served/digits/1 --format=onnx --out=converted
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import open_collections, pictures_of
from semppl.export.collections.thumbnails import decoded
from semppl.export.model import runtimes
from semppl.export.model.assets import read_card
from semppl.export.model.versions import written_aside
from semppl.programs import model_flags
from semppl.programs.extras import require_extra
from semppl.programs.hyperparameter_flags import data_from_flags

FORMATS = ("onnx", "tflite")
DESCRIPTION = "conversion.json"
CONVERTIBLE = ("float32", "int8")
TOLERANCE = 1e-4
_PICTURES = 32

_FORMAT = flags.DEFINE_enum("format", "onnx", FORMATS, "What to convert to.")
for _name in ("model", "out", "data"):
    flags.declare_key_flag(_name)  # --help shows it


def convert(
    model: str | pathlib.Path,
    into: str,
    out: str | pathlib.Path,
    *,
    reading: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a file per signature that can be converted.

    Args:
        model: folder of an exported model.
        into: one of FORMATS.
        out: folder to write, new; there is nothing in it unless every file gives the model's numbers.
        reading: `data` whose pictures are compared, and other settings of a run that say how it is read; by default its own.

    Returns:
        What is written as `conversion.json`: of each signature its file and largest difference, or why it is left out.

    Raises:
        ValueError: if the extra `convert` is missing, a path is wrong, or a converted signature fails or gives other numbers.
    """
    if into == "onnx":
        require_extra("convert")
    card, target = read_card(model), pathlib.Path(out)
    if target.exists():
        raise ValueError(f"--out must be a new folder. Received: {out}")
    settings = dataclasses.replace(Hyperparameters.from_dict(card["hyperparameters"]), **(reading or {}))
    if card["embedding"]["dtype"] not in CONVERTIBLE:
        raise ValueError(
            f"--model must be an export with --dtype={' or '.join(CONVERTIBLE)} to convert: other runtimes round 16 bits in other "
            f"places. Received: {card['embedding']['dtype']}"
        )
    images = sample_images(settings)
    loaded = tf.saved_model.load(str(model))
    told: dict[str, Any] = {"format": into, "pictures_compared": len(images), "signatures": {}, "left_out": {}}
    with written_aside(target) as aside:
        shutil.copytree(pathlib.Path(model) / "assets", aside, dirs_exist_ok=True)
        embedded = [loaded.signatures["embed_images"](images=image)["embedding"].numpy() for image in images]
        inputs = {
            "images": [*images, _damaged(images[0])],
            "embedding": [np.concatenate(embedded), _damaged(embedded[0])],
        }
        for name, function in sorted(loaded.signatures.items()):
            (given,) = function.structured_input_signature[1]
            try:
                if given not in inputs:
                    raise runtimes.NotConvertible(f"it decodes picture files, which {into} cannot")
                content = runtimes.to_onnx(function) if into == "onnx" else runtimes.to_tflite(function, loaded)
            except runtimes.NotConvertible as reason:
                told["left_out"][name] = str(reason)
                continue
            told["signatures"][name] = _checked(name, function, content, inputs[given], into)
            (aside / f"{name}.{into}").write_bytes(content)
        (aside / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n")
    return told


def sample_images(settings: Hyperparameters) -> list[np.ndarray]:
    """Returns pictures evenly over a collection, those that can be decoded: `[1, H, W, C]` float32 in 0..1, of their own sizes.

    They are mirrored: a picture that the model remembers, or was calibrated on, lies on a step where rounding decides.

    Raises:
        ValueError: if there is none.
    """
    collections = open_collections(settings)
    ids = np.unique(np.linspace(0, sum(map(len, collections)) - 1, _PICTURES).astype(int)).tolist()
    decodable = (decoded(picture, settings.channels) for picture in pictures_of(collections, ids))
    images = [np.ascontiguousarray(image[np.newaxis, :, ::-1]) for image in decodable if image is not None]
    if not images:
        raise ValueError(f"--data must name pictures to compare with. Received: {settings.data}, none of them readable")
    return images


def _damaged(value: np.ndarray) -> np.ndarray:
    """Repeats `[1, ...]` four times, in three of them with a number that is none."""
    rows = np.repeat(value, 4, axis=0)
    rows.reshape(4, -1)[1:, 0] = np.nan, np.inf, -np.inf
    return rows


def _checked(name: str, function: Any, content: bytes, inputs: Sequence[np.ndarray], into: str) -> dict[str, Any]:
    """Compares what a converted signature gives with the model's own.

    Raises:
        ValueError: if they differ.
    """
    run = (runtimes.run_onnx if into == "onnx" else runtimes.run_tflite)(content)
    (given,) = function.structured_input_signature[1]
    difference = 0.0
    for value in inputs:
        expected = {key: tensor.numpy() for key, tensor in function(**{given: tf.constant(value)}).items()}
        try:
            answer = run(value)
        except Exception as error:  # whatever the runtime meets
            raise ValueError(f"{name} must run in {into}. Received: {str(error).strip().splitlines()[0]}") from error
        difference = max(difference, runtimes.largest_difference(answer, expected))
    if difference > TOLERANCE:
        raise ValueError(
            f"{name} must give the model's numbers to {TOLERANCE} in {into}. Received: {difference:.3g} off"
        )
    told: dict[str, Any] = {"file": f"{name}.{into}", "largest_difference": difference}
    kernels = runtimes.tensorflow_kernels(content) if into == "tflite" else []
    return told | ({"needs_tensorflow_kernels": kernels} if kernels else {})


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    told = convert(
        str(model_flags.MODEL.value),
        _FORMAT.value,
        str(model_flags.OUT.value),
        reading=data_from_flags() if flags.FLAGS["data"].present else None,
    )
    for one in told["signatures"].values():
        kernels = ", ".join(one.get("needs_tensorflow_kernels", []))
        needs = f"; needs TensorFlow's kernels (Flex) for {kernels}" if kernels else ""
        print(f"{model_flags.OUT.value}/{one['file']}: at most {one['largest_difference']:.1e} off{needs}")
    for name, reason in told["left_out"].items():
        print(f"left out: {name}: {reason}")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flags_as_required(["model", "out"])
    quiet.run(main)


if __name__ == "__main__":
    run()
