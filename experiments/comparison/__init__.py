"""A comparison of methods on the same images, labels, encoder and steps: its plan, trainings, results and page."""
