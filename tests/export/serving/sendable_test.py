"""What a served model does not take is converted before it is sent, by every program that sends pictures."""

import io
import pathlib
import subprocess
import sys

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from semppl.data.files.decoding import Decoding, decode_file
from semppl.export import client
from semppl.export.collections.sendable import sendable
from semppl.export.model.decoding import decode_upright
from semppl.export.serving import predictor
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)

import tensorflow as tf  # isort: skip

_PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r><d tiff:Orientation="6"/></r></x:xmpmeta>'


def _file(kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(_PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


_CONVERTED = {
    "gif": _file("GIF"),
    "cmyk": _file("JPEG", "CMYK"),
    "tiff": _file("TIFF"),
    "webp": _file("WEBP", lossless=True),
    "palette_bmp": _file("BMP", "P"),
    "transparent": _file("PNG", "RGBA"),
    "turned_by_xmp_alone": _file("JPEG", xmp=_XMP),
}


class SendableTest(parameterized.TestCase):
    @parameterized.parameters(*_CONVERTED)
    def test_the_model_decodes_what_is_sent_as_training_decodes_the_file(self, name):
        sent = sendable(_CONVERTED[name])
        self.assertStartsWith(sent, b"\x89PNG")
        expected, _ = decode_file(_CONVERTED[name], Decoding())
        np.testing.assert_array_equal(decode_upright(tf.constant(sent), 3).numpy(), expected)

    def test_what_the_model_takes_is_sent_as_it_is(self):
        for content in (_file("JPEG"), _file("PNG"), b"no picture", b""):
            self.assertEqual(sendable(content), content)

    def test_the_client_converts(self):
        path = pathlib.Path(self.create_tempfile("a.gif", _CONVERTED["gif"], mode="wb").full_path)

        class Server:
            def predict(self, signature, inputs):
                self.sent = inputs["bytes"].tolist()
                return {"valid": np.array([True])}

        server = Server()
        list(client.ask(server, [path], signature="serving_default", batch_size=1))
        self.assertEqual(server.sent, [sendable(_CONVERTED["gif"])])

    def test_the_stand_in_converts_files_and_nothing_else(self):
        files = np.array([_CONVERTED["tiff"], b"x"], object)
        self.assertEqual(predictor._sendable(files).tolist(), [sendable(_CONVERTED["tiff"]), b"x"])
        numbers = np.ones([2, 3], np.float32)
        self.assertIs(predictor._sendable(numbers), numbers)

    def test_the_client_starts_without_tensorflow(self):
        code = "import sys; import semppl.export.client; sys.exit('tensorflow' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0)


if __name__ == "__main__":
    absltest.main()
