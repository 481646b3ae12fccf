"""What a run reports: TensorBoard, progress bar, profile."""
