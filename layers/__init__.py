"""What holds variables or is a piece of the graph: encoders, heads, queue, vote, draw."""
