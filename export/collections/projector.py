"""Folders for TensorBoard's projector, with names and thumbnails."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins import projector

from semppl.configs.wording import counted

_MAX_SPRITE = 8192  # pixels: the largest texture that all browsers draw
_MAX_COLOURS = 50  # values of a column beyond which the projector has no colours for the column
_SIDES = (64, 48, 32, 16)


def write_projector(
    folder: pathlib.Path,
    vectors: np.ndarray,
    metadata: Mapping[str, Sequence[str]],
    thumbnails: Sequence[Image.Image] = (),
) -> None:
    """Writes tensors, metadata, sprite and configuration.

    Args:
        folder: Folder to write, which must not exist.
        vectors: `[n, D]` embeddings.
        metadata: `n` strings per column, by name of the column.
        thumbnails: `n` square images of one size; without these, the projector shows points.
    """
    folder.mkdir(parents=True)
    np.savetxt(folder / "tensors.tsv", vectors, fmt="%.6g", delimiter="\t")
    names = list(metadata)
    lines = ["\t".join(names), *("\t".join(map(_cell, row)) for row in zip(*metadata.values(), strict=True))]
    if len(names) == 1:  # the projector expects no header for a single column
        lines = lines[1:]
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="embedding", tensor_path="tensors.tsv", metadata_path="metadata.tsv", tensor_shape=vectors.shape
    )
    if thumbnails:
        _sprite(thumbnails).save(folder / "sprite.png")
        embedding.sprite.image_path = "sprite.png"
        embedding.sprite.single_image_dim.extend(thumbnails[0].size)
    projector.visualize_embeddings(str(folder), config)
    with tf.summary.create_file_writer(str(folder)).as_default():  # the projector lists only folders with an event file
        tf.summary.text("embeddings", f"{counted(len(vectors), 'picture')}", step=0)


def colour_column(metadata: Mapping[str, Sequence[str]]) -> str:
    """Returns the column of classes that the projector can colour by; empty if there is none.

    The projector of TensorBoard 2.15 opens without colours: no configuration chooses a column, and bookmarks are not loaded.
    """
    able = [name for name in ("class_name", "truth") if 1 < len(set(metadata.get(name, ()))) <= _MAX_COLOURS]
    return able[0] if able else ""


def side_of_thumbnails(count: int) -> int:
    """Returns the largest side, in pixels, at which `count` thumbnails fit on one sprite."""
    return next((side for side in _SIDES if math.ceil(math.sqrt(count)) * side <= _MAX_SPRITE), _SIDES[-1])


def _sprite(thumbnails: Sequence[Image.Image]) -> Image.Image:
    """Arranges thumbnails row by row in a square, as the projector expects."""
    columns, (width, height) = math.ceil(math.sqrt(len(thumbnails))), thumbnails[0].size
    sprite = Image.new("RGB", (columns * width, columns * height))
    for number, image in enumerate(thumbnails):
        sprite.paste(image, (number % columns * width, number // columns * height))
    return sprite


def _cell(text: str) -> str:
    return " ".join(text.split())
