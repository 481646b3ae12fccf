"""A stand-in for TensorFlow Serving, for trials and tests; and clients for both."""
