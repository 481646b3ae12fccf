"""The value of a missing label, which is no class."""

NO_LABEL = -1
