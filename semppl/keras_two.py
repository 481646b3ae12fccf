"""Keras 2 on every supported TensorFlow: TensorFlow 2.16 and later have Keras 3 as `tf.keras` unless told otherwise."""

import importlib.metadata
import importlib.util
import os
import sys


def use() -> None:
    """Makes `tf.keras` the package tf-keras, Keras 2's continuation, if the installed Keras is Keras 3.

    The package `semppl` calls it when it is imported: TensorFlow reads the environment variable TF_USE_LEGACY_KERAS when
    `tf.keras` is used for the first time.

    Raises:
        ImportError: If tf-keras is not installed, or `tf.keras` was used as Keras 3 before.
    """
    try:
        keras = importlib.metadata.version("keras")
    except importlib.metadata.PackageNotFoundError:
        return
    if int(keras.split(".")[0]) < 3:
        return
    if importlib.util.find_spec("tf_keras") is None:
        raise ImportError(
            "semppl needs Keras 2, which tf-keras provides beside TensorFlow 2.16 and later. Install tf-keras of the version"
            f" of TensorFlow, as in: pip install 'tf-keras>=2.21,<2.22'. Received: Keras {keras} alone"
        )
    if _name_of_tf_keras().startswith("keras."):
        raise ImportError(
            f"semppl needs Keras 2, and tf.keras was used as Keras {keras} before semppl was imported. Import semppl before"
            " tf.keras is used, or start Python with the environment variable TF_USE_LEGACY_KERAS=1"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


def _name_of_tf_keras() -> str:
    """Returns the name of the module that `tf.keras` is; empty as long as `tf.keras` was not used."""
    tensorflow = sys.modules.get("tensorflow")
    keras = vars(tensorflow).get("keras") if tensorflow is not None else None
    return vars(keras).get("__name__", "") if keras is not None else ""
