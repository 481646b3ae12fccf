"""The same tree as the project, one `<module>_test.py` per module."""
