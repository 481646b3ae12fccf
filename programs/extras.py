"""Optional dependencies: the packages of each extra of the project."""

import importlib.util

PACKAGES = {
    "beam": ("apache_beam",),
    "convert": ("tf2onnx", "onnx", "onnxruntime"),
    "quality": ("cleanlab",),
    "ray": ("ray",),
    "search": ("faiss",),
    "serving": ("tensorflow_serving", "grpc"),
}
"""Import names of the packages, by extra."""


def has_extra(extra: str) -> bool:
    """Returns whether every package of an extra is installed."""
    return all(importlib.util.find_spec(package) for package in PACKAGES[extra])


def needs_extra(extra: str) -> str:
    """Returns the end of an error message that names the extra and the command that installs it."""
    return f'needs the extra "{extra}": pip install "semppl[{extra}]"'


def require_extra(extra: str) -> None:
    """Checks that an extra is installed.

    Raises:
        ValueError: If a package is missing; the message contains the command that installs the extra.
    """
    if not has_extra(extra):
        raise ValueError(f"This {needs_extra(extra)}")
