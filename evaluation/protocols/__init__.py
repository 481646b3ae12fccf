"""The protocols by which papers compare encoders: a classifier that is trained on top of the encoder."""
