"""What encoders and heads are built from: convolution, normalisation, precision."""
