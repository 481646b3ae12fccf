"""What the flags of several commands on exported models share."""

from absl import flags

# Here, because two modules that define the same flag cannot be imported together.
MODEL = flags.DEFINE_string("model", None, "Folder of an exported model: …/digits/1.")
MODEL_NAME = flags.DEFINE_string("model_name", "default", "Name of the model, in requests.")
OUT = flags.DEFINE_string(
    "out",
    None,
    "What to write: a new folder, for update_memory with its number, …/digits/2; for search a page, found.html.",
)
