"""Reading of encoded pictures from TFRecord files, by position."""

import numpy as np
import tensorflow as tf

from semppl.data.files.lost_pictures import PictureLost
from semppl.data.records.index import RecordFiles
from semppl.data.streaming import Encoded


def read_records(records: RecordFiles, image: str, mask: str = "", *, may_lack: str = "") -> Encoded:
    """Returns the function that reads the pictures of `tf.train.Example`s; see `StreamedImageSet.encoded`.

    Args:
        records: Index of the records.
        image: Name of the feature that holds the picture.
        mask: Name of the feature that holds the mask; empty: there are no masks.
        may_lack: "image" or "mask" if records may lack that feature, which then is an empty string.
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
        # Not stateful: otherwise tf.data would call the function from one thread only.
        examples = tf.numpy_function(read, [positions], tf.string, stateful=False)
        parsed = tf.io.parse_example(tf.ensure_shape(examples, positions.shape), features)
        return {name: parsed[feature] for name, feature in columns.items()}

    return encoded
