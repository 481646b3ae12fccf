"""What minutes on one core give: the logs of runs of equal time, and the figures and tables that are made from them."""
