"""The flag that every program on a run has: the folder of the run."""

from typing import cast

from absl import flags

# Here, because two modules that define the same flag cannot be imported together.
WORKDIR = cast(
    "flags.FlagHolder[str]",  # the validator leaves no None
    flags.DEFINE_string("workdir", None, "Folder of the run. A run that is started again with the same flags resumes."),
)


_MODEL = "model"
_NONE = ""
_instead = [_MODEL]
"""Flags of which one may stand in place of --workdir, in programs that have them."""


def accept_instead(name: str) -> None:
    """Lets another flag stand in place of --workdir in this process; it must differ from its default."""
    _instead.append(name)


def accept_none() -> None:
    """Lets this process go without --workdir, in programs that measure and write no run."""
    _instead.append(_NONE)


def _is_run_or_other(workdir: str | None) -> bool:
    """Returns whether --workdir, or a flag that may replace it, is set.

    Raises:
        flags.ValidationError: If neither is set; the message names the flags that may replace --workdir.
    """
    if _NONE in _instead:
        return True
    others = [flags.FLAGS[name] for name in _instead if name in flags.FLAGS]
    given = bool(workdir) or any(flag.value != flag.default and flag.value for flag in others)
    accepted = [f"--{flag.name}" for flag in others if flag.name != _MODEL]
    if accepted and not given:
        raise flags.ValidationError(f"must name a folder, unless {' or '.join(accepted)} is given")
    return given


flags.register_validator(WORKDIR, _is_run_or_other, "must name a folder")
