"""Programs that measure; every figure in RESULTS.md names its program."""
