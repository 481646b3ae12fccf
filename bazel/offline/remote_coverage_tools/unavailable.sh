#!/bin/sh
echo "Coverage needs Bazel's own coverage tools, which the offline build does without." >&2
exit 1
