"""Tests of semppl.export.serving.rest_service that need no model; what it answers is in contract_test."""

import contextlib
import http.client
import json
import types

import tensorflow as tf

from semppl.export.serving import rest_service
from semppl.export.serving.predictor import Limits
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


class RefusalTest(tf.test.TestCase):
    def test_who_sends_too_much_hears_of_it_after_all_is_sent(self):
        counted = types.SimpleNamespace(reading=contextlib.nullcontext, limits=Limits(request_bytes=1_000))
        server = rest_service.start(counted, 0)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        connection = http.client.HTTPConnection(*server.server_address, timeout=60)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/models/model:predict", body=bytes(100_000_000))
        answer = connection.getresponse()
        self.assertEqual(answer.status, 400)
        self.assertIn("at most 1000. Received: 100000000", json.loads(answer.read())["error"])


if __name__ == "__main__":
    tf.test.main()
