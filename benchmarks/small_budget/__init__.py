"""What 20 minutes on two cores give: the logs of runs of equal time, and the figures and tables that are made from them."""
