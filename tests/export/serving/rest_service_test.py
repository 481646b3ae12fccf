"""Tests of semppl.export.serving.rest_service that need no model; what it answers is in contract_test."""

import contextlib
import http.client
import json
import socket
import threading
import time
import types
from unittest import mock

import tensorflow as tf

from semppl.export.serving import rest_service
from semppl.export.serving.predictor import Limits, NotServed
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

    def test_who_stops_in_the_middle_hears_of_it_and_is_cut_off(self):
        waiting = types.SimpleNamespace(reading=contextlib.nullcontext, limits=Limits())
        with mock.patch.object(rest_service.Handler, "timeout", 0.2):
            server = rest_service.start(waiting, 0)
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
            with contextlib.closing(socket.create_connection(server.server_address, timeout=60)) as connection:
                connection.sendall(b"POST /v1/models/model:predict HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                self.assertEqual(answer.status, 408)
                self.assertEqual(json.loads(answer.read())["error"], "Nothing came for 0.2 seconds")
                self.assertEqual(connection.recv(1), b"")

    def _dribble(self, begin, seconds=0.2):
        """Sends a byte now and then, each before it would be silence; returns what is answered, and how long that took."""
        waiting = types.SimpleNamespace(reading=contextlib.nullcontext, limits=Limits())
        with mock.patch.object(rest_service.Handler, "timeout", seconds):
            server = rest_service.start(waiting, 0)
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
            with contextlib.closing(socket.create_connection(server.server_address, timeout=seconds / 4)) as connection:
                connection.sendall(begin)
                start = time.monotonic()
                while time.monotonic() < start + 20 * seconds:
                    try:
                        return connection.recv(1000), time.monotonic() - start
                    except TimeoutError:
                        connection.sendall(b"1")
        raise AssertionError("never cut off")

    def test_who_dribbles_a_body_hears_of_it_and_is_cut_off(self):
        for length, longest in ((1000, 0.8), (2**24, 1.2)):
            head = f"POST /v1/models/model:predict HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
            answer, took = self._dribble(head.encode())
            self.assertStartsWith(answer, b"HTTP/1.1 408 ")
            self.assertBetween(took, longest / 2, 5 * longest)

    def test_who_dribbles_a_head_is_cut_off(self):
        for head in (b"POST /v1/", b"POST /v1/models/model:predict HTTP/1.1\r\nContent-"):
            self.assertEqual(self._dribble(head)[0], b"")


class ConnectionsTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.threads = set()
        self.server = rest_service.start(types.SimpleNamespace(find=self._find), 0)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def _find(self, name, _):
        self.name = name
        self.threads.add(threading.current_thread())
        raise NotServed("not here")

    def _ask(self, name="model"):
        """Asks on a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection(*self.server.server_address, timeout=60)) as connection:
            connection.request("GET", f"/v1/models/{name}")
            return connection.getresponse().status

    def test_a_name_may_be_quoted(self):
        self.assertEqual(self._ask("%C3%A4%2F"), 404)
        self.assertEqual(self.name, "ä/")

    def test_the_same_threads_serve_one_connection_after_the_other(self):
        self.assertEqual({self._ask() for _ in range(200)}, {404})
        self.assertLessEqual(len(self.threads), 64)

    def test_one_too_many_is_closed_and_served_when_another_has_gone(self):
        others = [socket.create_connection(self.server.server_address) for _ in range(64)]
        for other in others:
            self.addCleanup(other.close)
        with self.assertRaises(OSError):
            self._ask()
        others[0].close()
        self.assertEqual(self._ask_until_served(), 404)

    def _ask_until_served(self):
        for _ in range(1000):
            with contextlib.suppress(OSError):
                return self._ask()
            time.sleep(0.01)
        raise AssertionError("never served")

    def test_closing_the_server_ends_its_threads(self):
        self._ask()
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join(60)
            self.assertFalse(thread.is_alive())


if __name__ == "__main__":
    tf.test.main()
