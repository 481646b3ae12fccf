"""Programs that compare environments."""
