"""What the programs that calibrate a model's answers share."""
