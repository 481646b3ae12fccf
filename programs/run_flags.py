"""The flag that every program on a run has: the folder of the run."""

from typing import cast

from absl import flags

# Here, because two modules that define the same flag cannot be imported together.
WORKDIR = cast(
    "flags.FlagHolder[str]",  # the validator leaves no None
    flags.DEFINE_string("workdir", None, "Folder of the run. A run that is started again with the same flags resumes."),
)
flags.register_validator(WORKDIR, bool, "must name a folder")
