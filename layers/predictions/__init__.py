"""Running statistics of the predicted class probabilities of unlabelled images."""
