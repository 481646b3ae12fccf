"""Flags that several programs on exported models share."""

from absl import flags

# Here, because two modules that define the same flag cannot be imported together.
MODEL = flags.DEFINE_string("model", None, "Folder of an exported model, such as served/digits/1.")
MODEL_NAME = flags.DEFINE_string("model_name", "default", "Name of the model in requests.")
OUT = flags.DEFINE_string(
    "out",
    None,
    "Output: a new folder (of `update_memory`, with the number of the version: served/digits/2); of `search` and `report`, an "
    "HTML file.",
)
