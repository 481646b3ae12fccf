"""Exchanges variables of a SavedModel: its graph is not touched, nor the value of any other variable."""

import pathlib

import tensorflow as tf

from semppl.export.memory.labelled_memory import LabelledMemory


def memory_values(memory: LabelledMemory) -> dict[str, tf.Tensor]:
    """Returns the values of a memory by the names that its variables have in an exported model."""
    parts = ((name, value) for name, value in vars(memory).items() if isinstance(value, tf.Variable))
    return {f"memory/{name}/.ATTRIBUTES/VARIABLE_VALUE": value.read_value() for name, value in parts}


def exchange_variables(model: pathlib.Path, folder: pathlib.Path, values: dict[str, tf.Tensor]) -> None:
    """Writes the variables of a model into another folder, some of them with other values.

    Args:
        model: folder of a SavedModel.
        folder: of the copy.
        values: by name in the checkpoint; each of the old type, and of a shape that the variable may have.

    Raises:
        ValueError: if the model has no variable of a name.
    """
    reader = tf.train.load_checkpoint(str(model / "variables" / "variables"))
    dtypes = reader.get_variable_to_dtype_map()
    unknown = sorted(set(values) - set(dtypes))
    if unknown:
        raise ValueError(f"A model must have a variable to exchange. Received: {', '.join(unknown)}")
    names = sorted(dtypes)
    tensors = [values[name] if name in values else tf.constant(reader.get_tensor(name), dtypes[name]) for name in names]
    (folder / "variables").mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(folder / "variables" / "variables"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=tensors,
    )
