"""What two core-hours give: the logs of runs of equal computation, and the figures and tables that are made from them."""
