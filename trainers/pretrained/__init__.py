"""The start of a run with a pretrained encoder: the encoder's weights, and its features of every image."""
