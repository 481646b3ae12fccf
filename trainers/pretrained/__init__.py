"""What a run with a pretrained encoder starts from: its weights, and its features of every image."""
