"""Tests of trainers/reports."""
