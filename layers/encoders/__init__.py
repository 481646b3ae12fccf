"""The encoders, by name."""
