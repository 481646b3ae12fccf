"""Pages of HTML: what those of several programs share."""
