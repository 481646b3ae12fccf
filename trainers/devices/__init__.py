"""Devices and workers: strategies, rendezvous, lost workers, signals that stop a run."""
