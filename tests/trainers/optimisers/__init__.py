"""Tests of trainers/optimisers."""
