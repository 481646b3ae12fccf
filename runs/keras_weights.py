"""Reads the arrays of Keras weight files: `.h5`, `.weights.h5` and `.keras`, of Keras 2 and 3.

Only arrays of numbers are read, not the model's configuration, which may contain code.
"""

import io
import pathlib
import zipfile

import h5py  # comes with TensorFlow
import numpy as np

Arrays = dict[str, np.ndarray]

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_WEIGHTS_IN_ZIP = "model.weights.h5"
_NUMBERS = "biuf"  # kinds of types


def recognises(path: pathlib.Path) -> bool:
    """Returns whether a file is HDF5, or a zip archive as `.keras` files are."""
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
    return start == _HDF5 or start.startswith(_ZIP)


def read_arrays(path: pathlib.Path, *, flag: str) -> Arrays:
    """Reads all arrays of numbers; runs no code of the file, and follows no link out of the file.

    Args:
        path: Path of a file of a model or of weights.
        flag: Name of the flag in the error message.

    Returns:
        Arrays by path in the file. In files of Keras 2 that name their layers, paths are the name of the
        layer and that of the weight, such as "Conv1/Conv1/kernel:0", in the order of the model.

    Raises:
        ValueError: If the file is absent or damaged, or is not a file of Keras weights.
    """
    try:
        if not recognises(path):
            raise OSError("it is neither HDF5 nor a zip archive")
        with _opened(path) as root:
            return _weights(root)
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:  # what h5py and zipfile raise
        reason = str(error).splitlines()[0]
        raise ValueError(f"--{flag} must be a whole file of Keras weights. Received: {path} ({reason})") from error


def _opened(path: pathlib.Path) -> h5py.File:
    if not zipfile.is_zipfile(path):
        return h5py.File(path, "r")
    with zipfile.ZipFile(path) as archive:
        return h5py.File(io.BytesIO(archive.read(_WEIGHTS_IN_ZIP)), "r")


def _items(group: h5py.Group) -> dict[str, h5py.Group | h5py.Dataset]:
    """Lists what lies in the file itself: `visititems` follows neither soft nor external links."""
    items: dict[str, h5py.Group | h5py.Dataset] = {}
    group.visititems(lambda name, item: items.update({name: item}))
    return items


def _weights(root: h5py.File) -> Arrays:
    items, prefix = _items(root), "model_weights/"
    if isinstance(items.get("model_weights"), h5py.Group):  # of a whole model, beside those of its optimiser
        root = items["model_weights"]
        items = {name.removeprefix(prefix): item for name, item in items.items() if name.startswith(prefix)}
    arrays = {
        name: item[()]
        for name, item in items.items()
        if isinstance(item, h5py.Dataset) and item.dtype.kind in _NUMBERS and not item.external and not item.is_virtual
    }
    layers = [layer for layer in _texts(root, "layer_names") if isinstance(items.get(layer), h5py.Group)]
    names = [f"{layer}/{weight}" for layer in layers for weight in _texts(items[layer], "weight_names")]
    return {name: arrays[name] for name in names if name in arrays} or arrays


def _texts(group: h5py.Group, name: str) -> list[str]:
    """Reads a list of texts, which Keras divides among numbered attributes if it is long."""
    parts = [name] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(f"{name}{len(parts)}")
    values = [value for part in parts for value in group.attrs[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
