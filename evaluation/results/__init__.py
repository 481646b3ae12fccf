"""Results of an evaluation: floors to compare with, figures per class, and how both are printed."""
