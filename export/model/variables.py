"""Exchange of variables in a SavedModel; the graph and all other variables stay byte for byte."""

import pathlib

import tensorflow as tf

from semppl.export.memory.labelled_memory import LabelledMemory


def memory_values(memory: LabelledMemory) -> dict[str, tf.Tensor]:
    """Returns a memory's values by the names of its variables in an exported model."""
    parts = ((name, value) for name, value in vars(memory).items() if isinstance(value, tf.Variable))
    return {f"memory/{name}/.ATTRIBUTES/VARIABLE_VALUE": value.read_value() for name, value in parts}


def exchange_variables(model: pathlib.Path, folder: pathlib.Path, values: dict[str, tf.Tensor]) -> None:
    """Copies the variables of a SavedModel, with new values for some of these.

    Args:
        model: Folder of the SavedModel.
        folder: Folder of the copy, to which `variables/` is written.
        values: New values by name in the checkpoint; of the old type, and of a shape that the variable allows.

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
