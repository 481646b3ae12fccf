"""The main program of every Bazel test: runs one test file under pytest, without the slow tests."""

import os
import sys

import pytest


def main(arguments: list[str]) -> int:
    """Runs pytest on the file and options that Bazel passes.

    Returns:
        pytest's exit code, but 0 where every test of the file is a slow one.
    """
    # An editable install would find undeclared sources in the checkout, which Bazel has not seen.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")]
    # A test's child processes see what the test sees; current rules_python does not pass it on.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if ".runfiles" in path)
    os.environ.setdefault("HOME", os.environ["TEST_TMPDIR"])
    options = [
        "-c",
        "pyproject.toml",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        os.path.join(os.environ["TEST_TMPDIR"], "pytest"),
    ]
    if "SEMPPL_SLOW" not in os.environ:
        options += ["-m", "not slow"]
    if "XML_OUTPUT_FILE" in os.environ:
        options += ["--junitxml", os.environ["XML_OUTPUT_FILE"]]
    if "TESTBRIDGE_TEST_ONLY" in os.environ:  # bazel test --test_filter
        options += ["-k", os.environ["TESTBRIDGE_TEST_ONLY"]]
    code = pytest.main([*options, *arguments])
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
