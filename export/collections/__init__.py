"""Embedded collections of pictures: Parquet, FAISS index, projector, thumbnails."""
