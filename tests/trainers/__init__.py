"""Tests of semppl.trainers."""
