"""Picture files as images on disk, converted where needed to bytes that TensorFlow decodes correctly."""

import dataclasses

import numpy as np
import tensorflow as tf

from semppl.data.files.decoding import Decoding, decode_file, decode_mask, encode
from semppl.data.files.inspection import Inspection, digest, shown
from semppl.data.files.lost_pictures import PictureLost
from semppl.data.files.picture_list import PictureList
from semppl.data.images import NO_LABEL
from semppl.data.streaming import Encoded, StreamedImageSet


@dataclasses.dataclass(frozen=True)
class PictureFiles:
    """The usable pictures of a list, numbered through in the order of the list.

    Attributes:
        pictures: All pictures, usable or not.
        inspection: Result of the inspection of `pictures`.
        decoding: Settings of the decoding.
    """

    pictures: PictureList
    inspection: Inspection
    decoding: Decoding

    @property
    def positions(self) -> np.ndarray:
        """`[m]` int64, indices of the usable pictures in `pictures`."""
        return np.flatnonzero(self.inspection.usable)

    @property
    def have_masks(self) -> bool:
        """Whether any usable picture has a mask."""
        return any(self.pictures.rows[position].mask for position in self.positions)

    def read(self, position: int) -> dict[str, bytes]:
        """Reads a picture; any number of threads may read at once.

        Args:
            position: Index in `pictures`.

        Returns:
            image: The file itself if TensorFlow decodes it correctly and it need not be downscaled; else a PNG file of the pixels.
            mask: PNG file of the mask; empty if there is none.

        Raises:
            PictureLost: If the file has changed since its inspection.
        """
        data, mask = self._unchanged(position)
        small = not self.decoding.shrink or min(self.inspection.sizes[position]) <= self.decoding.shrink
        if not (self.inspection.plain[position] and small):
            pixels, _ = decode_file(data, self.decoding, truncated=bool(self.inspection.truncated[position]))
            data = encode(pixels)
        return {"image": data, "mask": encode(decode_mask(mask, self.decoding)) if mask else b""}

    def _unchanged(self, position: int) -> tuple[bytes, bytes]:
        """Reads the files of a picture and of its mask, and checks that they have not changed since the inspection."""
        try:
            data, mask = self.pictures.read(position), self.pictures.mask(position)
        except (OSError, ValueError) as error:
            raise self._lost(
                position, (error.strerror if isinstance(error, OSError) else None) or str(error)
            ) from error
        if digest(data, mask) != self.inspection.digests[position].tobytes():
            raise self._lost(position, "other contents")
        return data, mask

    def _lost(self, position: int, received: str) -> PictureLost:
        path = shown(self.pictures.paths[position])
        return PictureLost(
            f"{self.pictures.place} must keep its pictures while they are read. Received: {path}: {received}; put it back, or "
            "start with a new --workdir"
        )


def read_encoded(files: PictureFiles) -> Encoded:
    """Returns the function that reads the usable pictures from their files; see `StreamedImageSet.encoded`."""
    listed, columns = files.positions, ("image", "mask") if files.have_masks else ("image",)

    def read(positions: np.ndarray) -> list[np.ndarray]:
        pictures = [files.read(listed[i]) for i in positions]
        return [np.array([picture[name] for picture in pictures], object) for name in columns]

    def encoded(positions: tf.Tensor) -> dict[str, tf.Tensor]:
        # Not stateful: otherwise tf.data would call the function from one thread only.
        strings = tf.numpy_function(read, [positions], [tf.string] * len(columns), stateful=False)
        parts = tf.nest.flatten(strings)  # eagerly, TensorFlow returns a single string tensor without its list
        return {name: tf.ensure_shape(part, positions.shape) for name, part in zip(columns, parts, strict=True)}

    return encoded


def open_pictures(files: PictureFiles, encoded: Encoded) -> tuple[StreamedImageSet, tuple[str, ...]]:
    """Makes an image set of the usable pictures, with labels, names and groups.

    Args:
        files: Usable pictures.
        encoded: Function that reads the usable pictures; see `StreamedImageSet.encoded`.

    Returns:
        The image set, and the class names, sorted as strings: "10" before "2".
    """
    rows = [files.pictures.rows[position] for position in files.positions]
    class_names = tuple(sorted({row.label for row in rows} - {""}))
    number = {name: label for label, name in enumerate(class_names)} | {"": NO_LABEL}
    labels = np.array([number[row.label] for row in rows], np.int32)
    paths = tuple(files.pictures.paths[position] for position in files.positions)
    groups = _groups([row.id for row in rows])
    return StreamedImageSet(encoded, files.decoding.channels, labels, paths, groups), class_names


def _groups(ids: list[str]) -> np.ndarray | None:
    """Returns `[m]` int64: the index of the first picture with the same id; pictures without an id are groups of their own."""
    if not any(ids):
        return None
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, place) if name else place for place, name in enumerate(ids)], np.int64)
