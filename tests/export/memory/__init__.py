"""Tests of export/memory."""
