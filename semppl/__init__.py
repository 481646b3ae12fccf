"""SemPPL: semi-supervised image embeddings from many images and a few labels (arXiv 2301.05158)."""

__version__ = "0.1.0"
