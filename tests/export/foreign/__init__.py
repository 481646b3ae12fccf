"""Tests of export/foreign."""
