"""Tests of layers/inputs."""
