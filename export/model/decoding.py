"""Decoding of untrusted picture files inside the graph, with EXIF orientation and limits on size."""

from collections.abc import Callable

import tensorflow as tf

MAX_PIXELS = 2**26
"""Largest number of pixels; a larger picture is refused before allocation. "50 MP" phones write 8192×6144."""

_AT_A_TIME = 4  # pictures of a batch that are decoded concurrently
_HEAD = 2**17  # bytes: a JPEG's orientation is in a segment of at most 2**16, near the front
_JPEG_HAS_EXIF, _PNG_HAS_EXIF = r"(?s)\C*Exif\x00\x00\C*", r"(?s)\C*eXIf\C*"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_SEGMENTS = 32
_MAX_SCANS = 100  # of a JPEG: encoders write about ten, and each costs a pass over the whole picture
_SCAN = b"\xff\xda\x00"  # marker and first byte of the length, so that a film appended to the picture does not match
_MAX_TAGS = 512
_PNG_GREY, _PNG_RGB = 0, 2


def decode_rows(
    encoded: tf.Tensor,
    prepare: Callable[[tf.Tensor], tf.Tensor],
    *,
    size: int,
    channels: int,
    max_pixels: int = MAX_PIXELS,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and prepares a batch of picture files, any of which may be broken.

    Args:
        encoded: string `[B]`: JPEG, PNG or BMP files.
        prepare: Function from uint8 `[1, H, W, C]` to `[1, size, size, C]` in 0..1.
        size: Side of a prepared picture, in pixels.
        channels: Number of channels, C.
        max_pixels: Height times width above which a picture is refused.

    Returns:
        Images `[B, size, size, C]`, black where decoding failed; and bool `[B]`, true where it succeeded.
    """
    count = tf.size(encoded)
    nothing = tf.zeros([size, size, channels])

    @tf.autograph.experimental.do_not_convert
    def prepared(number: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def picture() -> tf.Tensor:
            return prepare(decode_upright(file, channels, max_pixels=max_pixels)[tf.newaxis])[0]

        return number, tf.cond(number < count, picture, lambda: nothing)

    files = tf.concat([encoded, [""]], 0)  # one row there must be that does not fail
    rows = tf.data.Dataset.from_tensor_slices((tf.range(count + 1), files))
    rows = rows.map(prepared, num_parallel_calls=_AT_A_TIME, deterministic=True).ignore_errors()
    numbers, images = rows.batch(tf.cast(count, tf.int64) + 1).get_single_element()

    def in_their_places() -> tf.Tensor:
        return tf.scatter_nd(numbers[:, tf.newaxis], images, [count + 1, size, size, channels])

    all_are_there = tf.size(numbers) == count + 1
    placed = tf.ensure_shape(tf.cond(all_are_there, lambda: images, in_their_places), [None, size, size, channels])
    valid = tf.scatter_nd(numbers[:, tf.newaxis], tf.ones_like(numbers), [count + 1])
    return placed[:count], valid[:count] > 0


def decode_upright(encoded: tf.Tensor, channels: int, *, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes a picture and turns it upright, as the EXIF tag of a JPEG or PNG file says.

    Transparent pixels become white, as in training. GIF is not supported, because TensorFlow's decoder unpacks all frames to return
    the first.

    Args:
        encoded: string `[]`, a JPEG, PNG or BMP file.
        channels: Number of channels, C.
        max_pixels: Height times width above which the picture is refused.

    Returns:
        uint8 `[H, W, C]`.

    Raises:
        tf.errors.InvalidArgumentError: at run time, if the file is of another format, broken or too large.
    """
    is_jpeg = tf.io.is_jpeg(encoded)
    front = tf.strings.substr(encoded, 0, _HEAD)
    head = tf.cast(tf.io.decode_raw(front, tf.uint8), tf.int32)
    pixels = tf.cond(is_jpeg, lambda: _declared_by_jpeg(encoded), lambda: _declared(head))
    allowed = tf.debugging.Assert((pixels > 0) & (pixels <= max_pixels), ["A picture of", pixels, "pixels"])

    def orientation(has_exif: str, walk: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        # For a small picture, the walk takes as long as decoding.
        may_be_there = tf.strings.regex_full_match(front, has_exif)
        return tf.cond(may_be_there, lambda: walk(head), lambda: tf.constant(1))

    def jpeg() -> tf.Tensor:  # as accurately as evaluation decodes it
        turn = orientation(_JPEG_HAS_EXIF, exif_orientation)
        return turn_upright(_jpeg(encoded, channels, is_upright=turn == 1), turn)

    def png() -> tf.Tensor:
        turn = orientation(_PNG_HAS_EXIF, png_orientation)
        return turn_upright(_png(encoded, head, channels, is_upright=turn == 1), turn)

    def other() -> tf.Tensor:
        return tf.cond(_is_png(head), png, lambda: _bmp(encoded, head, channels))

    with tf.control_dependencies([allowed]):
        return tf.ensure_shape(tf.cond(is_jpeg, jpeg, other), [None, None, channels])


def _jpeg(encoded: tf.Tensor, channels: int, *, is_upright: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG file to uint8 `[H, W, C]`, bit for bit as in training, where Pillow converts rotated files to grey."""
    scans = tf.size(tf.strings.split(encoded, _SCAN, maxsplit=_MAX_SCANS + 1)) - 1
    allowed = tf.debugging.Assert(scans <= _MAX_SCANS, ["A JPEG file of more scans than", _MAX_SCANS])

    def decoded(channels: int) -> tf.Tensor:
        with tf.control_dependencies([allowed]):
            return tf.io.decode_jpeg(encoded, channels=channels, dct_method="INTEGER_ACCURATE")

    if channels == 3:
        return decoded(3)
    return tf.cond(is_upright, lambda: decoded(1), lambda: _in_channels(decoded(3), 1))


def _png(encoded: tf.Tensor, head: tf.Tensor, channels: int, *, is_upright: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG file on white to uint8 `[H, W, C]`, bit for bit as in training, where Pillow decodes rotated files."""
    depth, kind = tf.unstack(_bytes(head, tf.constant(24), 2), num=2)

    def deep_grey() -> tf.Tensor:
        deep = tf.cast(tf.io.decode_png(encoded, channels=4, dtype=tf.uint16), tf.int32)
        grey = tf.where(deep[..., 3:] > 0, (deep[..., :1] + 128) // 257, 255)
        return tf.repeat(tf.cast(grey, tf.uint8), channels, axis=2)

    def shallow() -> tf.Tensor:
        decoded = tf.io.decode_png(encoded, channels=4)
        colours, opacity = decoded[..., :3], decoded[..., 3:]
        # For a file of 1, 2 or 4 bits without opacity, the decoder fills in the largest value of that many bits.
        filler = 2 ** tf.minimum(depth, 8) - 1
        opacity = tf.where(tf.reduce_all(tf.cast(opacity, tf.int32) == filler), tf.constant(255, tf.uint8), opacity)
        is_plain = ((kind == _PNG_GREY) | (kind == _PNG_RGB)) & tf.reduce_all(opacity == 255) & is_upright

        def on_paper() -> tf.Tensor:
            light, full = tf.cast(opacity, tf.uint16), tf.constant(255, tf.uint16)  # products fit into 16 bits
            shown = tf.cast(colours, tf.uint16) * light + full * (full - light)
            return _in_channels(tf.cast((shown + tf.constant(127, tf.uint16)) // full, tf.uint8), channels)

        plain = (lambda: colours) if channels == 3 else (lambda: tf.io.decode_png(encoded, channels=1))
        return tf.cond(is_plain, plain, on_paper)

    return tf.cond((depth == 16) & (kind == _PNG_GREY), deep_grey, shallow)


def _in_channels(colours: tf.Tensor, channels: int) -> tf.Tensor:
    """Converts uint8 `[H, W, 3]` to `channels` channels: grey as in Pillow, ITU-R BT.601 in 16 bits."""
    if channels == 3:
        return colours
    red, green, blue = tf.unstack(tf.cast(colours, tf.int32), num=3, axis=-1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 2**15) // 2**16
    return tf.cast(luma, tf.uint8)[..., tf.newaxis]


def _bmp(encoded: tf.Tensor, head: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes an uncompressed BMP file, in colour or in 256 levels of grey, to uint8 `[H, W, C]`."""
    compression = _number(
        _bytes(head, tf.constant(30), 4), little_endian=True
    )  # non-zero also for custom bit masks of colours
    with tf.control_dependencies([tf.debugging.Assert(compression == 0, ["A BMP file of compression", compression])]):
        image = tf.io.decode_bmp(encoded)
    is_grey = tf.shape(image)[2] == 1
    palette = tf.reshape(_bytes(head, tf.constant(54), 4 * 256), [256, 4])[:, :3]
    is_ramp = tf.reduce_all(palette == tf.range(256)[:, tf.newaxis])
    with tf.control_dependencies([tf.debugging.Assert(is_ramp | ~is_grey, ["A BMP file with a palette"])]):
        colours = tf.cond(is_grey, lambda: tf.repeat(image, 3, axis=2), lambda: image[..., :3])
    return _in_channels(colours, channels)


def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors a picture as its EXIF orientation demands.

    Args:
        image: `[H, W, C]`.
        orientation: int32 `[]`, value of the EXIF tag; a value outside 1..8 has no effect.

    Returns:
        `[H, W, C]`, or `[W, H, C]` for the orientations 5..8.

    Reference: EXIF 2.32, tag 274: the position of the file's first row and column in the scene.
    """

    def turned() -> tf.Tensor:
        standing = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
        standing = tf.cond(mirrored, lambda: tf.reverse(standing, [1]), lambda: standing)
        upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
        return tf.cond(upside_down, lambda: tf.reverse(standing, [0]), lambda: standing)

    return tf.cond((orientation >= 2) & (orientation <= 8), turned, lambda: image)


def exif_orientation(head: tf.Tensor) -> tf.Tensor:
    """Reads the orientation tag of a JPEG file, walking segment by segment.

    Args:
        head: int32 `[n]` in 0..255, the first bytes of the file, n ≥ 1.

    Returns:
        int32 `[]`, the value of the tag, unchecked; 1 (upright) if there is no tag.
    """

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        marks = tf.constant([0xFF, 0xE1, *b"Exif\0\0"])
        found = tf.gather(_bytes(head, place, 10), [0, 1, 4, 5, 6, 7, 8, 9])
        return tf.reduce_all(found == marks)

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        marker = _bytes(head, place, 2)
        return (marker[0] == 0xFF) & (marker[1] != 0xDA) & ~is_exif(place)  # 0xDA: the picture itself begins

    def following(place: tf.Tensor) -> tf.Tensor:
        return place + 2 + tf.maximum(_number(_bytes(head, place + 2, 2), little_endian=False), 2)

    segment = tf.while_loop(
        goes_on, lambda place: [following(place)], [tf.constant(2)], maximum_iterations=_MAX_SEGMENTS
    )[0]
    return tf.cond(is_exif(segment), lambda: _tiff_orientation(head, segment + 10), lambda: tf.constant(1))


def png_orientation(head: tf.Tensor) -> tf.Tensor:
    """Reads the orientation tag of a PNG file, walking chunk by chunk.

    Args:
        head: int32 `[n]` in 0..255, the first bytes of the file, n ≥ 1.

    Returns:
        int32 `[]`, the value of the tag, unchecked; 1 (upright) if there is no tag.

    Reference: PNG, third edition, 11.3.3.5: the chunk `eXIf`.
    """

    def is_kind(place: tf.Tensor, name: bytes) -> tf.Tensor:
        return tf.reduce_all(_bytes(head, place + 4, 4) == list(name))

    def goes_on(place: tf.Tensor) -> tf.Tensor:
        return (place < tf.size(head)) & ~is_kind(place, b"eXIf")

    def following(place: tf.Tensor) -> tf.Tensor:
        length = _number(_bytes(head, place, 4), little_endian=False)
        return place + 12 + tf.where((length < 0) | (length > _HEAD), _HEAD, length)

    chunk = tf.while_loop(
        goes_on, lambda place: [following(place)], [tf.constant(len(_PNG_SIGNATURE))], maximum_iterations=_MAX_SEGMENTS
    )[0]
    return tf.cond(is_kind(chunk, b"eXIf"), lambda: _tiff_orientation(head, chunk + 8), lambda: tf.constant(1))


def _tiff_orientation(head: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Reads tag 274 in the first directory of the TIFF structure at `start`."""
    little_endian = tf.reduce_all(_bytes(head, start, 2) == list(b"II"))

    def number(place: tf.Tensor, size: int) -> tf.Tensor:
        return _number(_bytes(head, place, size), little_endian)

    directory = start + tf.clip_by_value(number(start + 4, 4), 0, _HEAD)
    tags = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), _MAX_TAGS))  # [T] where each stands
    is_orientation = number(tags, 2) == 274
    values = tf.boolean_mask(number(tags + 8, 2), is_orientation)
    return tf.concat([values, [1]], 0)[0]


def _bytes(head: tf.Tensor, place: tf.Tensor, count: int) -> tf.Tensor:
    """Returns `count` bytes from each place, `[..., count]`; 0 beyond the end."""
    places = tf.expand_dims(place, -1) + tf.range(count)
    inside = (places >= 0) & (places < tf.size(head))
    return tf.where(inside, tf.gather(head, tf.where(inside, places, 0)), 0)


def _number(digits: tf.Tensor, little_endian: tf.Tensor | bool) -> tf.Tensor:
    """Converts `[..., n]` bytes to integers `[...]`."""
    powers = 256 ** tf.range(digits.shape[-1])
    return tf.reduce_sum(digits * tf.where(little_endian, powers, powers[::-1]), -1)


def _is_png(head: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(_bytes(head, tf.constant(0), 8) == list(_PNG_SIGNATURE))


def _declared(head: tf.Tensor) -> tf.Tensor:
    """Returns the number of pixels that a PNG or BMP file declares; 0 for another format."""
    is_bmp = tf.reduce_all(_bytes(head, tf.constant(0), 2) == list(b"BM"))
    png = _number(_bytes(head, tf.constant([16, 20]), 4), little_endian=False)
    bmp = tf.abs(
        _number(_bytes(head, tf.constant([18, 22]), 4), little_endian=True)
    )  # negative: rows from top to bottom
    return tf.where(_is_png(head), _product(png), tf.where(is_bmp, _product(bmp), 0))


def _declared_by_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the number of pixels that a JPEG file declares; 0 for CMYK, which TensorFlow decodes wrongly."""
    shape = tf.image.extract_jpeg_shape(encoded)
    return tf.where(shape[2] == 4, tf.constant(0, tf.int64), _product(shape[:2]))


def _product(sides: tf.Tensor) -> tf.Tensor:
    """Multiplies height and width; returns -1 if one is negative."""
    height, width = tf.unstack(tf.cast(sides, tf.int64))
    return tf.where((height < 0) | (width < 0), tf.constant(-1, tf.int64), height * width)
