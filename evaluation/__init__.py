"""Evaluation of encoders: evaluators of frozen embeddings, and the papers' fine-tuning protocols."""
