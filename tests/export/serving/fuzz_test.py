"""Thousands of mutated requests: the server neither falls, nor hangs, nor grows, and every other request is answered right."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import tempfile
import time
import unittest

import grpc
import numpy as np
import tensorflow as tf

from semppl.data.sources import load_source
from semppl.export import client, export_model
from semppl.export.serving.server_process import ServerProcess
from semppl.programs.extras import has_extra
from semppl.tests import testing
from semppl.tests.export.random_runs import write_run

if has_extra("serving"):
    from tensorflow_serving.apis import predict_pb2

    from semppl.tests.export.serving import mutations

_SEED = int(os.environ.get("SEMPPL_FUZZ_SEED", "0"))
_AT_ONCE = 4
_SECONDS = 60  # that an answer may take, on a machine that does other things too
_WARM = 200  # requests until memory has settled
_GROWTH, _PEAK = 150, 1500  # MiB: over all further requests; at most at any time above where it was at first
_REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}


@unittest.skipUnless(has_extra("serving"), 'the extra "serving" is not installed')
class FuzzTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(folder / "run")
        export_model.export(folder / "run", folder / "digits" / "1")
        binary = os.environ.get("TENSORFLOW_MODEL_SERVER", "")
        cls.server = ServerProcess(folder / "digits", folder / "log", binary=binary)
        cls.addClassCleanup(cls.server.stop)
        cls.server.wait_for_version(1)
        pixels = np.round(load_source("digits").test.images[0] * 255).astype(np.uint8)
        cls.healthy = [tf.io.encode_png(pixels).numpy(), tf.io.encode_jpeg(pixels).numpy()]
        embed = tf.saved_model.load(str(folder / "digits" / "1")).signatures["embed_bytes"]
        cls.expected = embed(bytes=tf.constant(cls.healthy[:1]))["embedding"].numpy()[0]
        cls.channel = grpc.insecure_channel(f"localhost:{cls.server.grpc_port}")
        cls.addClassCleanup(cls.channel.close)
        cls.clients = [client.connect(a, "digits", seconds=_SECONDS, attempts=1) for a in cls._addresses()]

    @classmethod
    def _addresses(cls):
        return cls.server.rest, cls.server.grpc

    def test_300_mutated_requests_do_no_harm(self):
        self._attack(300)

    @testing.slow
    def test_10000_mutated_requests_do_no_harm(self):
        self._attack(10_000)

    def _attack(self, count):
        before, _ = self.server.memory()
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = list(pool.map(self._one, range(_WARM)))
            settled, _ = self.server.memory()
            outcomes += pool.map(self._one, range(_WARM, count))
        after, most = self.server.memory()
        slowest = max(seconds for seconds, _ in outcomes)
        print(f"{count} mutated requests, the slowest took {slowest:.2f} s; MiB before, settled, after, at most:")
        print(f"{before:.0f}, {settled:.0f}, {after:.0f}, {most:.0f}")
        self.assertTrue(self.server.is_running())
        self.assertEmpty([failure for _, failure in outcomes if failure])
        self.assertLess(after - settled, _GROWTH)
        self.assertLess(most - before, _PEAK)

    def _one(self, number):
        """Sends a mutated request and a healthy one; returns the seconds of the mutated one, and what went wrong."""
        mutation = mutations.draw(_SEED + number, self.healthy)
        start, failure = time.monotonic(), ""
        try:
            self._send(mutation)
            seconds = time.monotonic() - start
            self._ask_healthy(self.clients[number % 2])
        except Exception as error:
            seconds, failure = time.monotonic() - start, f"seed {_SEED + number}, {mutation.kind}: {error!r}"[:500]
        return seconds, failure

    def _send(self, mutation):
        if isinstance(mutation.rest, bytes):
            self._send_to_socket(mutation.rest)
            return
        embeddings = self._post(mutation) if mutation.rest else self._call(mutation)
        if mutation.healthy_row is not None:
            self.assertAllClose(embeddings[mutation.healthy_row], self.expected, atol=1e-5)

    def _post(self, mutation):
        """Returns the embeddings that came, if they had to come."""
        path, body = mutation.rest
        connection = http.client.HTTPConnection("localhost", self.server.rest_port, timeout=_SECONDS)
        try:
            connection.request("POST", path, body)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        self.assertIn(response.status, (200, 400, 404), answer)
        if response.status != 200:
            self.assertIn("error", answer)
        return answer["outputs"]["embedding"] if mutation.healthy_row is not None else None

    def _call(self, mutation):
        """Returns the embeddings that came, if they had to come."""
        ask = self.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        try:
            answer = ask(mutation.grpc, timeout=_SECONDS)
        except grpc.RpcError as error:
            unreadable = error.code().name == "INTERNAL" and "deserializing" in error.details()
            self.assertTrue(unreadable or error.code().name in _REFUSED, error)
            self.assertIsNone(mutation.healthy_row, error)
            return None
        outputs = predict_pb2.PredictResponse.FromString(answer).outputs
        return tf.make_ndarray(outputs["embedding"]) if mutation.healthy_row is not None else None

    def _send_to_socket(self, data):
        """Says something and no more; the server answers, or hangs up."""
        with socket.create_connection(("localhost", self.server.rest_port), timeout=_SECONDS) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
            except ConnectionError:  # it did not want to hear all of it
                return
        self.assertNotRegex(answer, rb"^HTTP/1.1 500")

    def _ask_healthy(self, asked):
        answer = asked.predict("embed_bytes", {"bytes": np.array(self.healthy[:1], object)})
        self.assertAllClose(answer["embedding"][0], self.expected, atol=1e-5)


if __name__ == "__main__":
    tf.test.main()
