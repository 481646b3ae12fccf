"""The same pictures give the same numbers wherever they are embedded: from the checkpoint to every runtime that is here."""

import os
import pathlib
import subprocess
import sys
import tempfile
from importlib import util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from semppl.data.files.decoding import Decoding, decode_file
from semppl.data.sources import load_source
from semppl.export import client, convert, embed, export_model
from semppl.export.model import runtimes
from semppl.export.serving.model_versions import ModelVersions
from semppl.export.serving.predictor import Limits, Predictor
from semppl.layers.inputs.preparation import inference_preparation
from semppl.programs.extras import has_extra
from semppl.runs import checkpoints
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run

_TOLERANCE = 1e-4
_SIZE = 12
"""Side of a picture that is embedded, in pixels; views in training have another."""

_BARE = """
import pathlib, sys
import numpy as np, tensorflow as tf

pictures = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[2]).iterdir())]
embed = tf.saved_model.load(sys.argv[1]).signatures["embed_bytes"]
np.save(sys.argv[3], embed(bytes=tf.constant(pictures))["embedding"].numpy())
if any(name.split(".")[0] == "semppl" for name in sys.modules):
    sys.exit("semppl was imported")
"""


class SameNumbersTest(tf.test.TestCase):
    """Every test compares with the network of the checkpoint, on what evaluation decodes and prepares."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run", inference_size=_SIZE)
        cls.model, cls.pictures = cls.folder / "digits" / "1", cls.folder / "pictures"
        export_model.export(cls.folder / "run", cls.model)
        cls.pictures.mkdir()
        for number, image in enumerate(np.round(load_source("digits").test.images[:12] * 255).astype(np.uint8)):
            encode, end = (tf.io.encode_png, "png") if number % 2 else (tf.io.encode_jpeg, "jpg")
            larger = np.repeat(np.repeat(image, 2, 0), 3, 1)
            (cls.pictures / f"{number:02d}.{end}").write_bytes(encode(larger).numpy())
        cls.files = [path.read_bytes() for path in sorted(cls.pictures.iterdir())]
        _, network, _ = checkpoints.load_online(cls.folder / "run")
        prepare = inference_preparation(_SIZE, centre_crop=1.0)
        cls.pixels = np.stack([decode_file(file, Decoding(channels=1))[0] for file in cls.files])
        cls.expected = network.project(prepare(cls.pixels)).numpy()

    def _assert_expected(self, embedding):
        self.assertEqual(np.shape(embedding), self.expected.shape)
        self.assertAllClose(embedding, self.expected, rtol=0, atol=_TOLERANCE)

    def test_the_saved_model_in_a_process_with_nothing_but_tensorflow(self):
        out = self.folder / "bare.npy"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [sys.executable, "-c", _BARE, str(self.model), str(self.pictures), str(out)]
        ran = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr[-2000:])
        self._assert_expected(np.load(out))

    def test_a_server_over_rest_and_grpc(self):
        if not has_extra("serving"):
            self.skipTest('the extra "serving" is not installed')
        from semppl.export.serving import grpc_service, rest_service

        predictor = Predictor(ModelVersions("digits", self.folder / "digits"), Limits())
        rest_server = rest_service.start(predictor, 0)
        self.addCleanup(rest_server.shutdown)
        grpc_server, grpc_port = grpc_service.start(predictor, 0)
        self.addCleanup(grpc_server.stop, None)
        for address in (f"http://localhost:{rest_server.server_port}", f"grpc://localhost:{grpc_port}"):
            asked = client.connect(address, "digits", seconds=60, attempts=2)
            answer = asked.predict("embed_bytes", {"bytes": np.array(self.files, object)})
            self._assert_expected(answer["embedding"])

    def test_onnx_runtime(self):
        if not all(util.find_spec(package) for package in ("tf2onnx", "onnx", "onnxruntime")):
            self.skipTest('the extra "convert" is not installed')
        convert.convert(self.model, "onnx", self.folder / "onnx")
        run = runtimes.run_onnx((self.folder / "onnx" / "embed_images.onnx").read_bytes())
        self._assert_expected(run(self.pixels.astype(np.float32) / 255)["embedding"])

    def test_tflite(self):
        convert.convert(self.model, "tflite", self.folder / "tflite")
        run = runtimes.run_tflite((self.folder / "tflite" / "embed_images.tflite").read_bytes())
        self._assert_expected(run(self.pixels.astype(np.float32) / 255)["embedding"])

    def test_beam(self):
        if not util.find_spec("apache_beam"):
            self.skipTest('the extra "beam" is not installed')
        from semppl.export.collections.engines.beam_engine import BeamEngine

        embed.embed(self.model, {"data": f"folder:{self.pictures}"}, self.folder / "beam", engine=BeamEngine())
        parts = (self.folder / "beam").glob("part-*.parquet")
        rows = pa.concat_tables([pq.read_table(part) for part in parts]).sort_by("id")
        self._assert_expected(np.stack(rows["embedding"].to_numpy()))


if __name__ == "__main__":
    tf.test.main()
