"""Tests of semppl.trainers.baselines."""
