"""What 20 minutes on two cores give: the logs of runs of equal time, and the figures and tables that are made from them."""

MINUTES, CORES = 20, 2
"""Budget of each run: minutes, and number of cores."""
