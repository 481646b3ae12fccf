"""The machinery of command-line programs: quiet libraries, shared flags, one-line errors."""
