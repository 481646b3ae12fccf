"""Tests of semppl.export.serving.grpc_client, against servers that are odd."""

import contextlib
import io
import unittest
from concurrent import futures

import numpy as np
import tensorflow as tf
from absl.testing import flagsaver

from semppl.export import client
from semppl.export.serving.retries import NoModelServer, Refused, Unavailable
from semppl.programs import hyperparameter_flags  # noqa: F401  (defines --batch_size)
from semppl.programs.extras import has_extra
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)

if has_extra("serving"):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


@unittest.skipUnless(has_extra("serving"), 'the extra "serving" is not installed')
class GrpcClientTest(tf.test.TestCase):
    def _server(self, answer=None, **options):
        """Starts a server, of models if it has an answer; returns its address."""
        server = grpc.server(futures.ThreadPoolExecutor(1), **options)
        if answer is not None:
            servicer = prediction_service_pb2_grpc.PredictionServiceServicer()
            servicer.Predict = answer
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("localhost:0")
        server.start()
        self.addCleanup(lambda: server.stop(grace=None).wait())
        return f"grpc://localhost:{port}"

    def _predict(self, address, size=1):
        asked = client.connect(address, "digits", seconds=30, attempts=2)
        return asked.predict("embed_bytes", {"bytes": np.array([bytes(size)], object)})

    def _failing(self, codes):
        def answer(_, context):
            code = codes.pop(0)
            if code is not None:
                context.abort(code, "too many\n at a time")
            return predict_pb2.PredictResponse(outputs={"valid": tf.make_tensor_proto([True])})

        return self._server(answer)

    def test_a_server_that_is_busy_is_asked_again(self):
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
            self.assertAllEqual(self._predict(self._failing([code, None]))["valid"], [True])
        with self.assertRaisesRegex(Unavailable, "RESOURCE_EXHAUSTED: too many"):
            self._predict(self._failing([grpc.StatusCode.RESOURCE_EXHAUSTED] * 2))

    def test_a_request_that_is_too_large_is_refused(self):
        address = self._server(lambda *_: None, options=[("grpc.max_receive_message_length", 1_000)])
        with self.assertRaisesRegex(Refused, r"RESOURCE_EXHAUSTED: .*larger than max \(\d+ vs. 1000\)"):
            self._predict(address, 2_000)
        picture = self.create_tempfile(content=bytes(2_000).decode()).full_path
        with contextlib.redirect_stderr(io.StringIO()) as output, flagsaver.flagsaver(server=address):
            self.assertEqual(client.main(["client", picture]), 2)
        self.assertRegex(output.getvalue(), "^error: .*--batch_size must suit the server. Received: .*\n$")

    def test_what_is_no_model_server_is_told(self):
        broken = predict_pb2.PredictResponse()
        broken.outputs["x"].dtype = 99
        for address in (self._server(), self._server(lambda *_: broken)):
            with self.assertRaises(NoModelServer):
                self._predict(address)


if __name__ == "__main__":
    tf.test.main()
