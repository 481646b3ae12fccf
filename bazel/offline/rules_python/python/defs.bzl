"""Stands in for rules_python: Bazel 4 still has the Python rules built in."""

py_binary = native.py_binary
py_library = native.py_library
py_test = native.py_test
