"""Flags that programs of experiments share."""
