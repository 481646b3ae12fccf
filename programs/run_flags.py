"""The flag that every program on a run has: the folder of the run."""

from typing import cast

from absl import flags

# Here, because two modules that define the same flag cannot be imported together.
WORKDIR = cast(
    "flags.FlagHolder[str]",  # the validator leaves no None
    flags.DEFINE_string("workdir", None, "Folder of the run. A run that is started again with the same flags resumes."),
)


def _is_run_or_model(workdir: str | None) -> bool:
    """Returns whether a run is named, or the program takes an exported model in its place and gets one."""
    return bool(workdir) or ("model" in flags.FLAGS and bool(flags.FLAGS["model"].value))


flags.register_validator(WORKDIR, _is_run_or_model, "must name a folder")
