"""One step, one run: models with a `train_step`, optimisers, schedules, checkpoints, entry points."""
