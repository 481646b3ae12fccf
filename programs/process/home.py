"""The home folder, for a user without one: caches of this project and of libraries lie there."""

import os
import pathlib
import tempfile


def ensure_home() -> None:
    """Sets HOME to a folder for temporary files if the environment and the password database name no home folder.

    A container may run under a user id that the password database lacks. Python then raises an error where a path in the home
    folder is needed, and libraries make a folder named "~".
    """
    if os.path.expanduser("~") != "~":
        return
    home = pathlib.Path(tempfile.gettempdir(), f"home-{os.getuid()}")
    home.mkdir(mode=0o700, exist_ok=True)
    mine = home.is_dir() and not home.is_symlink() and home.stat().st_uid == os.getuid()
    os.environ["HOME"] = str(home) if mine else tempfile.mkdtemp(prefix="home-")
