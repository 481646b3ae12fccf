"""A run on disk: folder, checkpoints, atomic files."""
