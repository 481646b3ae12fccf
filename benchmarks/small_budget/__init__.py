"""What 26 minutes on one core give: the logs of runs of equal time, and the figures and tables that are made from them."""

MINUTES = 26
"""Budget of each run, in minutes on one core of a machine whose other cores are idle."""
