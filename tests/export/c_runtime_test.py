"""An exported model in a process without Python, as a server runs it: no Python operation, no kernel from elsewhere."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from semppl.data.sources import load_source
from semppl.export import export_model, update_memory
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run

_SOURCE = pathlib.Path(__file__).with_name("run_signature.c")
_DTYPES = {dtype.as_datatype_enum: dtype for dtype in (tf.float32, tf.int32, tf.int64, tf.bool, tf.string)}


@unittest.skipUnless(shutil.which("gcc"), "there is no C compiler")
class CRuntimeTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        library = pathlib.Path(tf.sysconfig.get_lib())
        cls.program = cls.folder / "run_signature"
        command = [
            "gcc",
            "-O1",
            str(_SOURCE),
            "-o",
            str(cls.program),
            f"-I{tf.sysconfig.get_include()}",
            f"-L{library}",
        ]
        command += ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"]
        subprocess.run(command, check=True)
        write_run(cls.folder / "run")
        export_model.export(cls.folder / "run", cls.folder / "1")
        cls.images = load_source("digits").test.images[:4]
        cls.paths = []
        for number, image in enumerate(np.round(cls.images * 255).astype(np.uint8)):
            encoded = (tf.io.encode_png if number % 2 else tf.io.encode_jpeg)(image).numpy()
            cls.paths.append(cls.folder / f"{number}.picture")
            cls.paths[-1].write_bytes(encoded[:40] if number == 2 else encoded)

    def _run(self, model, signature, value):
        """Runs a signature on files, or on an array of numbers; returns its outputs by name."""
        file = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
        definition = file.meta_graphs[0].signature_def[signature]
        (operation,) = (spec.name.removesuffix(":0") for spec in definition.inputs.values())
        if isinstance(value, np.ndarray):
            (self.folder / "value").write_bytes(value.tobytes())
            given = ["floats", str(self.folder / "value"), str(value.ndim), *map(str, value.shape)]
        else:
            given = ["strings", *map(str, value)]
        outputs = {name: spec.name for name, spec in definition.outputs.items()}
        command = [str(self.program), str(model), operation, *given, "--", *outputs.values()]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return dict(zip(outputs, map(_read, ran.stdout.splitlines()), strict=True))

    def _assert_equal_to_python(self, model, names):
        """Compares signatures by name; the third picture is a broken one."""
        signatures = tf.saved_model.load(str(model)).signatures
        files = tf.constant([path.read_bytes() for path in self.paths])
        embedding = signatures["embed_bytes"](bytes=files)["embedding"]
        asked = dict.fromkeys(("serving_default", "embed_bytes", "ood"), self.paths) | {"embed_images": self.images}
        asked |= dict.fromkeys(("classify_embeddings", "neighbours"), embedding.numpy())
        inputs = {"bytes": files, "images": tf.constant(self.images), "embedding": embedding}
        self.assertEqual(set(asked), set(signatures))
        for signature in names:
            (name,) = signatures[signature].structured_input_signature[1]
            expected = signatures[signature](**{name: inputs[name]})
            answer = self._run(model, signature, asked[signature])
            self.assertEqual(set(answer), set(expected))
            if "valid" in answer and name == "bytes":
                self.assertAllEqual(answer["valid"], [1, 1, 0, 1])
            for output, values in expected.items():
                if values.dtype == tf.string:
                    self.assertAllEqual(answer[output], values)
                else:
                    self.assertAllClose(answer[output], values, atol=1e-5, rtol=1e-5)

    def test_every_signature_gives_the_numbers_that_python_gives(self):
        names = ("serving_default", "embed_bytes", "embed_images", "classify_embeddings", "neighbours", "ood")
        self._assert_equal_to_python(self.folder / "1", names)

    def test_no_rows_are_answered_by_no_rows(self):
        nothing = {"serving_default": [], "embed_images": np.zeros([0, 8, 8, 1], np.float32)}
        for signature, value in (nothing | {"classify_embeddings": np.zeros([0, 8], np.float32)}).items():
            answer = self._run(self.folder / "1", signature, value)
            self.assertEqual({len(values) for values in answer.values()}, {0}, signature)

    @testing.slow
    def test_so_does_a_model_with_more_labels(self):
        (self.folder / "new.csv").write_text(f"path,label\n{self.paths[0]},stripes\n{self.paths[1]},7\n")
        update_memory.update_memory(self.folder / "1", self.folder / "new.csv", self.folder / "2")
        self._assert_equal_to_python(self.folder / "2", ("serving_default", "neighbours"))


def _read(line):
    """Reads an output as the program prints it."""
    head, *values = line.split(" ")
    kind, *sides = map(int, head.split(":"))
    dtype = _DTYPES[kind]
    if dtype == tf.string:
        return np.array([bytes.fromhex(value[1:]) for value in values], object).reshape(sides)
    return np.array([float(value) for value in values]).astype(dtype.as_numpy_dtype).reshape(sides)


if __name__ == "__main__":
    tf.test.main()
