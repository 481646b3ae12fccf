"""Tests of trainers/devices."""
