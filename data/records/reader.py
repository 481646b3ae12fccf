"""Pictures inside TFRecords, read from anywhere in them."""

import numpy as np
import tensorflow as tf

from semppl.data.files.lost_pictures import PictureLost
from semppl.data.records.index import RecordFiles
from semppl.data.streaming import Encoded


def read_records(records: RecordFiles, image: str, mask: str = "", *, may_lack: str = "") -> Encoded:
    """Returns what reads the pictures of `tf.train.Example`s: see `StreamedImageSet.encoded`.

    Args:
        records: where they stand.
        image: the feature with the picture.
        mask: the feature with its mask; empty: there is none.
        may_lack: image or mask, if records may be without it; it is empty then.
    """
    columns = {"image": image} | ({"mask": mask} if mask else {})
    features = {
        feature: tf.io.FixedLenFeature([], tf.string, "" if name == may_lack else None)
        for name, feature in columns.items()
    }

    def read(positions: np.ndarray) -> np.ndarray:
        try:
            return np.array(records.read(positions), object)
        except (OSError, ValueError) as error:
            raise PictureLost(str(error)) from error

    def encoded(positions: tf.Tensor) -> dict[str, tf.Tensor]:
        # Not stateful: else tf.data would call it from one thread only.
        examples = tf.numpy_function(read, [positions], tf.string, stateful=False)
        parsed = tf.io.parse_example(tf.ensure_shape(examples, positions.shape), features)
        return {name: parsed[feature] for name, feature in columns.items()}

    return encoded
