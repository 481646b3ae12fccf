"""A stand-in for TensorFlow Serving, to try out and to test with; and clients for both."""
