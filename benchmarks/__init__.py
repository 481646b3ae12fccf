"""Programs that measure; every figure in RESULTS.md names the one that made it."""
