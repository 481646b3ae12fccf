"""Instruments that several benchmarks share: rates of data sets, the cost of a program for a TPU."""
