"""Tests of semppl.configs."""
