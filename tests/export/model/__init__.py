"""Tests of export/model."""
