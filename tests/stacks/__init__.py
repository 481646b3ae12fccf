"""Tests of the two stacks: Keras 2 by either name, and runs and models of one stack read by the other."""
