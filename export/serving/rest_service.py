"""TensorFlow Serving's REST interface: predict, status, metadata; health, and metrics for Prometheus."""

import http.server
import io
import json
import queue
import re
import socket
import threading
import urllib.parse
from typing import Any

import numpy as np
from google import protobuf
from google.protobuf import json_format
from tensorflow.core.protobuf import meta_graph_pb2

from semppl.export.serving import grpc_service, page
from semppl.export.serving.incoming import Incoming
from semppl.export.serving.json_tensors import BadRequest, decode_request, encode_response, read_object
from semppl.export.serving.model_versions import Version, input_dtypes
from semppl.export.serving.predictor import DEFAULT_SIGNATURE, Busy, NotServed, Predictor

_ROUTE = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18}))?(?P<what>:predict|/metadata)?")
_LABELLED = re.compile(r"/labelled\?ids=(-?\d{1,18}(?:,-?\d{1,18}){0,999})")
_KINDS = {"/": "text/html; charset=utf-8", "/monitoring/prometheus/metrics": "text/plain; version=0.0.4"}
_SILENCE_SECONDS = 30.0  # after which a silent client is disconnected
_LINGER_SECONDS = 30.0  # during which the body of a refused request is still read
_LARGE_BYTES = 2**24  # a body may take 2 × _SILENCE_SECONDS, and _SILENCE_SECONDS more per _LARGE_BYTES
_CONNECTIONS = 64
_DIGITS = 18  # maximum length of a number; Python refuses to parse very long ones


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_SECONDS
    predictor: Predictor
    _unread = False  # true while the body of a refused request is not read

    def setup(self) -> None:
        """Sets a deadline for everything that is read."""
        super().setup()
        self._incoming = Incoming(self.connection, self.timeout)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        """Waits for a request and answers it."""
        self._incoming.allow(self.timeout)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answers with status, metadata, health or metrics, or with the page and its labelled pictures."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Runs a signature."""
        self._answer(self._predict)

    def log_message(self, *_: Any) -> None:
        """Logs nothing: metrics count the requests."""

    def _answer(self, route: Any) -> None:
        try:
            code, kind, body = 200, "application/json", route()
        except NotServed as error:
            code, kind, body = 404, "application/json", _error(error)
        except BadRequest as error:
            code, kind, body = 400, "application/json", _error(error)
        except Busy as error:
            code, kind, body = 503, "application/json", _error(error)
        except TimeoutError as error:  # the body does not arrive
            self.close_connection = True
            code, kind, body = 408, "application/json", _error(error)
        except Exception as error:  # any error is reported to the client
            code, kind, body = 500, "application/json", _error(f"Internal error: {type(error).__name__}")
        kind = _KINDS.get(self.path, kind) if code == 200 else kind
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if self._unread:
            self._linger()

    def _linger(self) -> None:
        """Discards the rest of a request: closing at once would reset the connection and lose the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self._incoming.allow(_LINGER_SECONDS)
        while self.rfile.read1(1 << 16):
            pass

    def _get(self) -> bytes:
        if self.path == "/healthz":
            return b"{}"
        if self.path == "/":
            return page.page(self.predictor.versions.name)
        if match := _LABELLED.fullmatch(self.path):
            return self._labelled([int(number) for number in match[1].split(",")])
        if self.path == "/monitoring/prometheus/metrics":
            return _metrics(self.predictor)
        route = self._route()
        self.predictor.find(route["name"], _number(route["version"]))
        versions = self.predictor.versions
        if route["what"] == "/metadata":
            return _metadata(grpc_service.metadata(versions))
        if route["what"] is None:
            return _json(grpc_service.status(versions))
        raise BadRequest("Predictions must be asked for by POST")

    def _labelled(self, ids: list[int]) -> bytes:
        """Describes labelled pictures of the current version, for the page."""
        versions = self.predictor.versions
        current = versions.current
        if current is None:
            raise NotServed(f"No version of {versions.name} is served")
        pictures = page.labelled_pictures(versions.base / str(current.number))
        return json.dumps([pictures.describe(number) for number in ids]).encode()

    def _predict(self) -> bytes:
        with self.predictor.reading():
            version, signature, inputs, by_rows = self._request()
        return encode_response(self.predictor.predict(version, signature, inputs), by_rows=by_rows)

    def _request(self) -> tuple[Version, str, dict[str, np.ndarray], bool]:
        """Reads a request: the version, the signature, its inputs, and whether these are by rows."""
        body = self._body()
        route = self._route()
        if route["what"] != ":predict":
            raise BadRequest("Only predictions are asked for by POST")
        version = self.predictor.find(route["name"], _number(route["version"]))
        signature = read_object(body).get("signature_name", DEFAULT_SIGNATURE)
        if not isinstance(signature, str) or signature not in version.signatures:
            named = repr(signature)[:100]
            raise BadRequest(f"Serving signature name {named} not found; there are {sorted(version.signatures)}")
        inputs, by_rows = decode_request(body, input_dtypes(version.signatures[signature]))
        inputs = {
            name: _with_width(value, version.signatures[signature].inputs[name]) for name, value in inputs.items()
        }
        return version, signature, inputs, by_rows

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        allowed = self.predictor.limits.request_bytes
        if not length.isdecimal() or len(length) > _DIGITS or int(length) > allowed:
            self.close_connection = self._unread = True
            raise BadRequest(f"Content-Length must be at most {allowed}. Received: {length[:_DIGITS] or 'none'}")
        self._incoming.allow(self.timeout * (2 + int(length) / _LARGE_BYTES))
        return self.rfile.read(int(length))

    def _route(self) -> dict[str, Any]:
        match = _ROUTE.fullmatch(self.path)
        if match is None:
            raise BadRequest(f"Malformed request: {self.command} {self.path[:200]}")
        return match.groupdict() | {"name": urllib.parse.unquote(match["name"])}


class Server(http.server.HTTPServer):
    """A server with a fixed pool of threads, one per connection: each new thread that runs a model would leak a few bytes.

    Args:
        predictor: Predictor of the model.
        port: Port on the loopback interface; 0 for any free port.
    """

    request_queue_size = 128

    def __init__(self, predictor: Predictor, port: int) -> None:
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        self._accepted: queue.SimpleQueue[tuple[Any, Any] | None] = queue.SimpleQueue()
        super().__init__(("localhost", port), type("BoundHandler", (Handler,), {"predictor": predictor}))
        for number in range(_CONNECTIONS):
            threading.Thread(target=self._serve_connections, name=f"rest-{number}", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Passes a connection to a thread, or closes it if all threads are busy."""
        if self._free.acquire(blocking=False):
            self._accepted.put((request, client_address))
        else:
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Closes the server, and ends each thread when its connection ends."""
        super().server_close()
        for _ in range(_CONNECTIONS):
            self._accepted.put(None)

    def _serve_connections(self) -> None:
        while (connection := self._accepted.get()) is not None:
            request, client_address = connection
            try:
                self.finish_request(request, client_address)
            except Exception:  # an error ends only its connection
                self.handle_error(request, client_address)
            finally:
                self.shutdown_request(request)
                self._free.release()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Logs nothing: a client may disconnect at any time."""


def start(predictor: Predictor, port: int) -> Server:
    """Starts serving in a thread."""
    server = Server(predictor, port)
    threading.Thread(target=server.serve_forever, name="rest", daemon=True).start()
    return server


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _with_width(values: np.ndarray, expected: meta_graph_pb2.TensorInfo) -> np.ndarray:
    """Reshapes an empty list to the expected width, which the list itself cannot express."""
    sides = [max(side.size, 0) for side in expected.tensor_shape.dim]
    return values.reshape(0, *sides[1:]) if values.shape == (0,) else values


_WITH_DEFAULTS: dict[str, Any] = {
    "preserving_proto_field_name": True,
    # protobuf 5 renamed the argument
    "including_default_value_fields"
    if int(protobuf.__version__.split(".")[0]) < 5
    else "always_print_fields_with_no_presence": True,
}


def _error(error: Exception | str) -> bytes:
    return json.dumps({"error": str(error)}).encode()


def _json(message: Any) -> bytes:
    return json_format.MessageToJson(message, **_WITH_DEFAULTS).encode()


def _metadata(message: Any) -> bytes:
    """Formats metadata as TensorFlow Serving does, with packed messages unpacked."""
    signatures = json_format.MessageToDict(message.metadata["signature_def"], **_WITH_DEFAULTS)
    spec = json_format.MessageToDict(message.model_spec, **_WITH_DEFAULTS)
    return json.dumps({"model_spec": spec, "metadata": {"signature_def": signatures}}, indent=1).encode()


def _metrics(predictor: Predictor) -> bytes:
    lines = ["# TYPE semppl_requests_total counter"]
    lines += [f'semppl_requests_total{{outcome="{name}"}} {count}' for name, count in predictor.counts.items()]
    lines += ["# TYPE semppl_request_seconds_total counter", f"semppl_request_seconds_total {predictor.seconds:.6f}"]
    current = predictor.versions.current
    lines += ["# TYPE semppl_model_version gauge", f"semppl_model_version {current.number if current else 0}"]
    return ("\n".join(lines) + "\n").encode()
