"""The labelled memory of a served model: votes, calibration, out-of-distribution score."""
