"""Pure functions from embeddings to unreduced losses, in nats."""
