"""How a missing label is written: everywhere the same, and never a class."""

NO_LABEL = -1
