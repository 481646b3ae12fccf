"""Devices and workers: strategies, rendezvous, lost workers, SIGTERM."""
