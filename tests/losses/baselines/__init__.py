"""Tests of semppl.losses.baselines."""
