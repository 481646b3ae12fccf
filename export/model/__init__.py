"""What a SavedModel is made of: decoding, inference network, signatures, assets, warm-up."""
