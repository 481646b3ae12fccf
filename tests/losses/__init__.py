"""Tests of semppl.losses."""
