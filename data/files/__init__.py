"""A folder of pictures: listing, label file, decoding, inspection, cache."""
