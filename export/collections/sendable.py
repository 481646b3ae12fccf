"""Conversion of picture files that training reads, and a served model does not, before they are sent.

TensorFlow is not imported here: the client starts without it.
"""

from semppl.configs.reading import ReadingSettings
from semppl.data.files.decoding import Unusable, decodable, decoding_of


def sendable(content: bytes, reading: ReadingSettings | None = None) -> bytes:
    """Converts the content of a picture file to what a served model decodes.

    Args:
        content: Content of a file of any format that training reads.
        reading: Settings of the model's run; by default, those of colour pictures.

    Returns:
        The content itself, or a PNG file of the pixels: of GIF, BMP, WebP and TIFF files, of pictures in CMYK, with a palette,
        transparency or 16 bits, and of those that only XMP turns. The content itself, too, if nothing can decode it.
    """
    try:
        return decodable(content, decoding_of(reading or ReadingSettings(channels=3)))
    except Unusable:
        return content
