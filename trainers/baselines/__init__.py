"""The methods that SemPPL is compared with, in the same loop."""
