"""The report of a run: what is measured, the figures, and the page."""
