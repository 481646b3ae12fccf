"""The flag that every command has; it stands here because two modules that define the same flag cannot be imported together."""

from absl import flags

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; a run started again with the same flags goes on.", required=True)
