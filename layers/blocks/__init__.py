"""Building blocks of encoders and heads: convolution, normalisation, precision."""
