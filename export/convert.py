"""Converts the signatures of an exported model to ONNX or TFLite, and compares each with the model on real pictures.

python -m semppl.export.convert --model=served/digits/1 --format=onnx --out=converted
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import model_flags, quiet
from semppl.programs.data_flags import data_from_flags
from semppl.programs.extras import require_extra

FORMATS = ("onnx", "tflite")

_FORMAT = flags.DEFINE_enum("format", "onnx", FORMATS, "Format to convert to.")
for _name in ("model", "out", "data"):
    flags.declare_key_flag(_name)  # --help shows it

quiet.parse_flags(__name__, required=["model", "out"])

import tensorflow as tf

from semppl.export.collections.collection import open_collections, pictures_of
from semppl.export.collections.thumbnails import decoded
from semppl.export.model import runtimes
from semppl.export.model.assets import read_card
from semppl.runs.files import folder_written_aside

DESCRIPTION = "conversion.json"
CONVERTIBLE = ("float32", "int8")
TOLERANCE = 1e-4
_PICTURES = 32


def convert(
    model: str | pathlib.Path,
    into: str,
    out: str | pathlib.Path,
    *,
    reading: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a file per convertible signature.

    Args:
        model: Folder of an exported model.
        into: One of `FORMATS`.
        out: Folder to write, which must not exist; written only if every file reproduces the model's outputs.
        reading: `data` whose pictures are compared, and hyper-parameters that say how to read it; by default those of the run.

    Returns:
        The content of `conversion.json`: the file and the largest difference of each signature, or why it is left out.

    Raises:
        ValueError: if the extra `convert` is missing, a path is wrong, or a converted signature fails or differs from the model.
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
    report: dict[str, Any] = {"format": into, "pictures_compared": len(images), "signatures": {}, "left_out": {}}
    with folder_written_aside(target) as aside:
        shutil.copytree(pathlib.Path(model) / "assets", aside, dirs_exist_ok=True)
        _convert_signatures(tf.saved_model.load(str(model)), into, images, aside, report)
        (aside / DESCRIPTION).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _convert_signatures(
    loaded: Any, into: str, images: Sequence[np.ndarray], folder: pathlib.Path, report: dict[str, Any]
) -> None:
    """Writes a file per convertible signature, and adds its difference, or why it is left out, to the report."""
    embedded = [loaded.signatures["embed_images"](images=image)["embedding"].numpy() for image in images]
    inputs = {
        "images": [*images, _damaged(images[0])],
        "embedding": [np.concatenate(embedded), _damaged(embedded[0])],
    }
    for name, function in sorted(loaded.signatures.items()):
        (argument,) = function.structured_input_signature[1]
        try:
            if argument not in inputs:
                raise runtimes.NotConvertible(f"it decodes picture files, which {into} cannot")
            content = runtimes.to_onnx(function) if into == "onnx" else runtimes.to_tflite(function, loaded)
            entry = _checked(name, function, content, inputs[argument], into)
        except runtimes.NotConvertible as reason:
            report["left_out"][name] = str(reason)
            continue
        report["signatures"][name] = entry
        (folder / f"{name}.{into}").write_bytes(content)


def sample_images(settings: Hyperparameters) -> list[np.ndarray]:
    """Returns evenly spaced, decodable pictures of a data set, mirrored: `[1, H, W, C]` in 0..1, each of its own size.

    They are mirrored because a remembered or calibrating picture lies exactly on a threshold, where rounding decides.

    Raises:
        ValueError: if no picture can be decoded.
    """
    collections = open_collections(settings)
    positions = np.unique(np.linspace(0, sum(map(len, collections)) - 1, _PICTURES).astype(int)).tolist()
    decodable = (decoded(picture, settings.channels) for picture in pictures_of(collections, positions))
    images = [np.ascontiguousarray(image[np.newaxis, :, ::-1]) for image in decodable if image is not None]
    if not images:
        raise ValueError(f"--data must name pictures to compare with. Received: {settings.data}, none of them readable")
    return images


def _damaged(value: np.ndarray) -> np.ndarray:
    """Repeats `[1, …]` four times; three copies contain NaN or Inf."""
    rows = np.repeat(value, 4, axis=0)
    rows.reshape(4, -1)[1:, 0] = np.nan, np.inf, -np.inf
    return rows


def _checked(name: str, function: Any, content: bytes, inputs: Sequence[np.ndarray], into: str) -> dict[str, Any]:
    """Compares a converted signature with the model's own; returns its part of the report.

    Raises:
        ValueError: if the outputs differ, or the converted signature cannot be run.
    """
    run = (runtimes.run_onnx if into == "onnx" else runtimes.run_tflite)(content)
    (argument,) = function.structured_input_signature[1]
    worst: dict[str, float] = {}
    for value in inputs:
        expected = {key: tensor.numpy() for key, tensor in function(**{argument: tf.constant(value)}).items()}
        try:
            answer = run(value)
        except Exception as error:  # runtimes raise errors of any class
            if "Flex delegate" in str(error):
                raise runtimes.NotConvertible(_NO_FLEX) from error
            raise ValueError(f"{name} must run in {into}. Received: {str(error).strip().splitlines()[0]}") from error
        worst |= {
            output: max(difference, worst.get(output, 0.0))
            for output, difference in runtimes.differences(answer, expected).items()
        }
    off = [_named(output, worst[output]) for output in sorted(worst) if worst[output] > TOLERANCE]
    if off:
        raise ValueError(f"{name} must give the model's numbers to {TOLERANCE} in {into}. Received: {', '.join(off)}")
    difference = max(worst.values(), default=0.0)
    entry: dict[str, Any] = {"file": f"{name}.{into}", "largest_difference": difference}
    kernels = runtimes.tensorflow_kernels(content) if into == "tflite" else []
    return entry | ({"needs_tensorflow_kernels": kernels} if kernels else {})


_NO_FLEX = (
    "it needs TensorFlow's kernels (Flex), which the TFLite interpreter of this TensorFlow does not run; convert it on the stack"
    " tf215"
)


def _named(output: str, difference: float) -> str:
    return f"{output} is {difference:.3g} off" if np.isfinite(difference) else f"{output} differs"


@quiet.program
def main(argv: list[str]) -> int:
    """Converts the model that the flags name; returns the exit code."""
    del argv
    report = convert(
        str(model_flags.MODEL.value),
        _FORMAT.value,
        str(model_flags.OUT.value),
        reading=data_from_flags() if flags.FLAGS["data"].present else None,
    )
    for one in report["signatures"].values():
        kernels = ", ".join(one.get("needs_tensorflow_kernels", []))
        needs = f"; needs TensorFlow's kernels (Flex) for {kernels}" if kernels else ""
        print(f"{model_flags.OUT.value}/{one['file']}: at most {one['largest_difference']:.1e} off{needs}")
    for name, reason in report["left_out"].items():
        print(f"left out: {name}: {reason}")
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
