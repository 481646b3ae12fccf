"""Classification by neighbours: nearest images, class means, and labels that spread over a graph."""
