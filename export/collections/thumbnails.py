"""Thumbnails of picture files."""

import base64
import io

import numpy as np
from PIL import Image, ImageOps

_BACKGROUND = (255, 255, 255)
_UNDECODABLE = (OSError, ValueError, SyntaxError)  # errors of Pillow


def thumbnail(picture: bytes, side: int) -> Image.Image:
    """Scales a picture file into a white square of `side` pixels, upright; white only, if it cannot be decoded."""
    square = Image.new("RGB", (side, side), _BACKGROUND)
    try:
        image = _image(picture).convert("RGB")
    except _UNDECODABLE:
        return square
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # Small pictures are enlarged without smoothing.
    image = image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def data_url(image: Image.Image) -> str:
    """Encodes an image as a `data:` URL."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def decoded(picture: bytes, channels: int) -> np.ndarray | None:
    """Decodes a picture file to `[H, W, channels]` float32 in 0..1, upright; None if it cannot be decoded."""
    try:
        pixels = np.asarray(_image(picture).convert("L" if channels == 1 else "RGB"), np.float32) / 255
    except _UNDECODABLE:
        return None
    return pixels.reshape(*pixels.shape[:2], channels)


def _image(picture: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(picture)))
