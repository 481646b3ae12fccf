"""What a server of exported models must do: the stand-in, or the binary that $TENSORFLOW_MODEL_SERVER names.

Every test asks over the wire, and compares with the SavedModel run in this process.
"""

import base64
import os
import pathlib
import re
import tempfile
import unittest
import urllib.request

import numpy as np
import tensorflow as tf

from semppl.data.sources import load_source
from semppl.export import client, export_model, update_memory
from semppl.export.serving.rest_client import RestClient
from semppl.export.serving.server_process import ServerProcess
from semppl.programs.extras import has_extra
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run

if has_extra("serving"):
    import grpc
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )


def _picture(number):
    pixels = np.round(load_source("digits").test.images[number] * 255).astype(np.uint8)
    return tf.io.encode_png(pixels).numpy()


@unittest.skipUnless(has_extra("serving"), 'the extra "serving" is not installed')
class ContractTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run")
        cls.base = cls.folder / "digits"
        export_model.export(cls.folder / "run", cls.base / "1")
        cls.signatures = tf.saved_model.load(str(cls.base / "1")).signatures
        cls.server = ServerProcess(cls.base, cls.folder / "log", binary=os.environ.get("TENSORFLOW_MODEL_SERVER", ""))
        cls.addClassCleanup(cls.server.stop)
        cls.server.wait_for_version(1)

    def _assert_equal(self, answer, expected):
        self.assertEqual(set(answer), set(expected))
        for name, value in expected.items():
            value = value.numpy()
            if value.dtype == object:
                value = np.array([item.decode() for item in value])
                self.assertAllEqual(answer[name], value)
            else:
                self.assertAllClose(answer[name], value, atol=1e-5, rtol=1e-5)

    def test_every_signature_says_the_same_over_both_interfaces(self):
        pictures = np.array([_picture(0), b"rubbish", _picture(1)], object)
        images = load_source("digits").test.images[:3]
        embedding = self.signatures["embed_bytes"](bytes=tf.constant(pictures))["embedding"].numpy()
        inputs = {
            "serving_default": {"bytes": pictures},
            "embed_bytes": {"bytes": pictures},
            "ood": {"bytes": pictures},
            "embed_images": {"images": images},
            **{name: {"embedding": embedding} for name in ("classify_embeddings", "neighbours")},
        }
        self.assertEqual(set(inputs), set(self.signatures))
        for address in (self.server.rest, self.server.grpc):
            asked = client.connect(address, "digits", seconds=60, attempts=2)
            for signature, values in inputs.items():
                expected = self.signatures[signature](**{name: tf.constant(value) for name, value in values.items()})
                self._assert_equal(asked.predict(signature, values), expected)

    def test_no_rows_are_answered_by_no_rows(self):
        for signature, function in self.signatures.items():
            ((name, spec),) = function.structured_input_signature[1].items()
            nothing = np.zeros([0, *(side or 8 for side in spec.shape[1:])], spec.dtype.as_numpy_dtype)
            for address in (self.server.rest, self.server.grpc):
                answer = client.connect(address, "digits", seconds=60, attempts=2).predict(signature, {name: nothing})
                self.assertEqual(set(answer), set(function.structured_outputs))
                self.assertEqual({len(values) for values in answer.values()}, {0})
            body = {"signature_name": signature, "instances": []}
            self.assertEqual(self.server.ask("/v1/models/digits:predict", body), (200, {"predictions": []}))

    def test_rows_are_answered_by_rows(self):
        expected = self.signatures["serving_default"](bytes=tf.constant([_picture(2)]))
        encoded = {"b64": base64.b64encode(_picture(2)).decode()}
        for instance in (encoded, {"bytes": encoded}):
            status, answer = self.server.ask("/v1/models/digits:predict", {"instances": [instance]})
            self.assertEqual(status, 200)
            (row,) = answer["predictions"]
            self._assert_equal({name: [value] for name, value in row.items()}, expected)

    def test_metadata_tell_the_signatures(self):
        status, answer = self.server.ask("/v1/models/digits/metadata")
        self.assertEqual(status, 200)
        self.assertEqual(answer["model_spec"]["name"], "digits")
        report = answer["metadata"]["signature_def"]["signature_def"]
        self.assertContainsSubset(set(self.signatures), set(report))
        self.assertEqual(report["neighbours"]["inputs"]["embedding"]["dtype"], "DT_FLOAT")
        sizes = [part["size"] for part in report["neighbours"]["inputs"]["embedding"]["tensor_shape"]["dim"]]
        self.assertEqual(sizes, ["-1", "8"])

    def test_what_is_not_there_is_not_found(self):
        absent = ("letters", "digits/versions/9", "letters/metadata", "digits/versions/9/metadata")
        for path in (f"/v1/models/{name}" for name in absent):
            self.assertEqual(self.server.ask(path)[0], 404, path)
        status, answer = self.server.ask("/v1/models/letters:predict", {"instances": [{"b64": ""}]})
        self.assertEqual(status, 404)
        self.assertIn("error", answer)

    def test_a_version_or_a_label_that_is_not_there_is_not_found(self):
        channel = grpc.insecure_channel(self.server.grpc.removeprefix("grpc://"))
        self.addCleanup(channel.close)
        predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        for ask, request in (
            (predictions.Predict, predict_pb2.PredictRequest()),
            (
                predictions.GetModelMetadata,
                get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]),
            ),
            (models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()),
        ):
            request.model_spec.name = "digits"
            if ask is predictions.Predict:
                request.inputs["bytes"].CopyFrom(tf.make_tensor_proto([_picture(0)]))
            ask(request, timeout=60)
            request.model_spec.version.value = 1
            ask(request, timeout=60)
            for other in ({"version": {"value": 9}}, {"version_label": "stable"}):
                request.model_spec.CopyFrom(model_pb2.ModelSpec(name="digits", **other))
                with self.assertRaises(grpc.RpcError) as refused:
                    ask(request, timeout=60)
                self.assertEqual(refused.exception.code(), grpc.StatusCode.NOT_FOUND)

    def _refused(self):
        with urllib.request.urlopen(f"{self.server.rest}/monitoring/prometheus/metrics", timeout=60) as answer:
            counted = re.search(r'outcome="refused"} (\d+)', answer.read().decode())
        return int(counted[1]) if counted else 0

    def test_a_wrong_request_is_refused_and_the_next_one_answered(self):
        wrong = [
            b"{",
            {},
            {"instances": [3.5]},
            {"inputs": {"pixels": [1]}},
            {"signature_name": "no_such", "instances": [{"b64": ""}]},
            {"signature_name": "neighbours", "instances": [[1.0, 2.0]]},
            {"signature_name": "neighbours", "instances": ["a"]},
            {"signature_name": "embed_images", "inputs": [[1.0]]},
        ]
        refused = self._refused()
        for body in wrong:
            status, answer = self.server.ask("/v1/models/digits:predict", body)
            self.assertBetween(status, 400, 404, body)
            self.assertIn("error", answer)
        grpc_client = client.connect(self.server.grpc, "digits", seconds=60, attempts=1)
        for signature, name, value in (
            ("no_such", "bytes", np.array([b""], object)),
            ("neighbours", "embedding", np.zeros([1, 3], np.float32)),
            ("neighbours", "embedding", np.zeros([1, 8], np.float64)),
            ("neighbours", "pixels", np.zeros([1, 8], np.float32)),
        ):
            with self.assertRaises(ValueError):
                grpc_client.predict(signature, {name: value})
        if not os.environ.get("TENSORFLOW_MODEL_SERVER"):  # which has names of its own
            self.assertEqual(self._refused() - refused, len(wrong) + 4)
        self.test_rows_are_answered_by_rows()

    def test_no_mutated_picture_fails_its_neighbour(self):
        rng = np.random.default_rng(0)
        asked = RestClient(self.server.rest, "digits", seconds=60)
        jpeg = tf.io.encode_jpeg(np.zeros([9, 11, 1], np.uint8)).numpy()
        expected = self.signatures["embed_bytes"](bytes=tf.constant([_picture(3)]))["embedding"][0]
        for _ in range(25):
            batch = []
            for whole in (_picture(0), jpeg, _picture(1), jpeg):
                damaged = np.frombuffer(whole, np.uint8)[: rng.integers(1, len(whole) + 1)].copy()
                damaged[rng.integers(0, len(damaged), 4)] ^= np.uint8(1 << rng.integers(0, 8))
                batch.append(damaged.tobytes())
            answer = asked.predict("embed_bytes", {"bytes": np.array([*batch, _picture(3)], object)})
            self.assertTrue(answer["valid"][-1])
            self.assertAllClose(answer["embedding"][-1], expected, atol=1e-5)
            self.assertTrue(np.isfinite(answer["embedding"]).all())

    def test_the_client_asks_in_batches_and_keeps_the_order(self):
        paths = []
        for number in range(7):
            paths.append(self.folder / f"{number}.png")
            paths[-1].write_bytes(_picture(number))
        asked = client.connect(self.server.rest, "digits", seconds=60, attempts=2)
        answers = list(client.ask(asked, paths, signature="serving_default", batch_size=3))
        expected = self.signatures["serving_default"](bytes=tf.constant([_picture(number) for number in range(7)]))
        self.assertEqual([answer["path"] for answer in answers], [str(path) for path in paths])
        self.assertAllEqual([answer["label"] for answer in answers], expected["label"])
        self.assertAllClose([answer["embedding"] for answer in answers], expected["embedding"], atol=1e-5)

    def test_z_a_new_version_takes_over(self):  # the last one: the others ask version 1
        (self.folder / "new.png").write_bytes(_picture(4))
        (self.folder / "new.csv").write_text("path,label\nnew.png,stripes\n")
        update_memory.update_memory(self.base / "1", self.folder / "new.csv", self.base / "2")
        self.server.wait_for_version(2)
        asked = RestClient(self.server.rest, "digits", seconds=60)
        embedded = asked.predict("embed_bytes", {"bytes": np.array([_picture(4)], object)})["embedding"]
        nearest = asked.predict("neighbours", {"embedding": embedded.astype(np.float32)})
        self.assertEqual(nearest["labels"][0, 0], 10)


if __name__ == "__main__":
    tf.test.main()
