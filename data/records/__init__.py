"""TFRecord files of pictures: index, reader, catalogue."""
