"""The losses of the methods that SemPPL is compared with."""
