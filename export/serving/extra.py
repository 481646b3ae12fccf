"""Tells whether the packages of the extra `serving` are installed."""

import importlib.util

MISSING = 'it needs the extra "serving": pip install "semppl[serving]"'


def has_serving() -> bool:
    """Whether TensorFlow Serving's messages, and gRPC, are there."""
    return all(importlib.util.find_spec(package) for package in ("tensorflow_serving", "grpc"))
