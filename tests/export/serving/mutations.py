"""Requests that nobody should send, each drawn from its own seed: damaged pictures, arrays, JSON, messages and HTTP."""

import base64
import dataclasses
import json
import struct
import zlib

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

MODEL, WIDTH = "digits", 8
_PREDICT = f"/v1/models/{MODEL}:predict"


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A request.

    Attributes:
        kind: what was done to it.
        rest: path and body for POST, or bytes for the socket; None: it goes over gRPC.
        grpc: bytes of a PredictRequest; None: it goes over REST.
        healthy_row: of the answer, that of a healthy picture among damaged ones; None: anything may be refused.
    """

    kind: str
    rest: tuple[str, bytes] | bytes | None = None
    grpc: bytes | None = None
    healthy_row: int | None = None


def draw(seed: int, healthy: list[bytes]) -> Mutation:
    """Draws a request.

    Args:
        seed: the same one gives the same request.
        healthy: a PNG file, and a JPEG file.
    """
    rng = np.random.default_rng(seed)
    make = _KINDS[rng.integers(len(_KINDS))]
    return make(rng, healthy)


def flip_bits(rng: np.random.Generator, data: bytes, count: int, *, first: int = 0, last: int | None = None) -> bytes:
    """Flips `count` bits between two positions."""
    damaged = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(first, min(last or len(data), len(data)), count)
    damaged[places] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
    return damaged.tobytes()


def _damaged_picture(rng: np.random.Generator, healthy: list[bytes]) -> bytes:
    whole = healthy[rng.integers(len(healthy))]
    kinds = [
        lambda: flip_bits(rng, whole, rng.integers(1, 9), last=40),
        lambda: flip_bits(rng, whole, rng.integers(1, 33), first=40),
        lambda: whole[: rng.integers(len(whole))],
        lambda: b"",
        lambda: rng.bytes(rng.integers(1, 2000)),
        lambda: whole + rng.bytes(rng.integers(1, 2000)),
        lambda: _far_too_large(rng, healthy[1]),
        lambda: b"GIF89a" + whole,
    ]
    return kinds[rng.integers(len(kinds))]()


def _far_too_large(rng: np.random.Generator, jpeg: bytes) -> bytes:
    """A file that claims to have 100 million pixels and more, or just not too many, and has next to none."""
    height, width = (int(side) for side in rng.choice([1, 5_000, 9_000, 10_000, 65_535], 2))
    kind = rng.integers(3)
    if kind == 0:
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height * 7, 8, rng.choice([0, 2, 6]), 0, 0, 0)
        parts = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
        chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    if kind == 1:
        head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 154, 0, 0, 54, 40, width, -height, 1, 24, 0, 100, 0, 0, 0, 0)
        return head + bytes(100)
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]


def _rest(signature: str, inputs: object) -> tuple[str, bytes]:
    return _PREDICT, json.dumps({"signature_name": signature, "inputs": inputs}).encode()


def _message(signature: str, **inputs: np.ndarray | tf.compat.v1.Tensor) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def _pictures(rng: np.random.Generator, healthy: list[bytes]) -> Mutation:
    files = [_damaged_picture(rng, healthy) for _ in range(rng.integers(1, 5))]
    place = int(rng.integers(len(files) + 1))
    files.insert(place, healthy[0])
    if rng.integers(2):
        encoded = [{"b64": base64.b64encode(file).decode()} for file in files]
        return Mutation("pictures", rest=_rest("embed_bytes", encoded), healthy_row=place)
    message = _message("embed_bytes", bytes=np.array(files, object))
    return Mutation("pictures", grpc=message.SerializeToString(), healthy_row=place)


def _arrays(rng: np.random.Generator, healthy: list[bytes]) -> Mutation:
    """Wrong types, wrong shapes, far too many rows, and numbers that are none."""
    signature = ["embed_images", "classify_embeddings", "neighbours"][rng.integers(3)]
    name, rank = ("images", 4) if signature == "embed_images" else ("embedding", 2)
    shape = [[int(side) for side in rng.choice([0, 1, 2, 8, 40], rng.integers(6))], [2, 8, 8, 1][:rank]][
        rng.integers(2)
    ]
    if rng.integers(4) == 0:
        shape = [int(rng.choice([257, 5_000, 20_000])), WIDTH]
    values = rng.choice([0.0, 1.0, -1e38, np.nan, np.inf], shape)
    if rng.integers(2):
        dtype = rng.choice(["float32", "float64", "int8", "int64", "bool", "complex64", "float16", "str"])
        with np.errstate(all="ignore"):
            typed = np.nan_to_num(values).astype(dtype)
        return Mutation("arrays", grpc=_message(signature, **{name: typed}).SerializeToString())
    wrong = [values.tolist(), [values.tolist(), 1], "text", None, {"b64": "x"}, [[["a"]]], 10**400, [True], {}]
    return Mutation("arrays", rest=_rest(signature, wrong[0] if rng.integers(2) else wrong[rng.integers(len(wrong))]))


def _json(rng: np.random.Generator, healthy: list[bytes]) -> Mutation:
    encoded = {"b64": base64.b64encode(healthy[0]).decode()}
    body = json.dumps({"signature_name": "embed_bytes", "instances": [encoded, encoded]}).encode()
    odd: list[object] = [None, [], {}, 3, -1, 1e308, True, "", "\udc80", [[]], {"b64": 1}, "é" * 300]
    value = odd[rng.integers(len(odd))]
    kinds = [
        lambda: flip_bits(rng, body, rng.integers(1, 9)),
        lambda: body[: rng.integers(len(body))],
        lambda: b"[" * int(rng.choice([10, 900, 100_000])) + body,
        lambda: b'{"instances": ' + b"[" * 60 + b"]" * 60 + b"}",
        lambda: b'{"instances": ' + b"9" * int(rng.choice([300, 5_000, 100_000])) + b"}",
        lambda: json.dumps({"signature_name": value, "instances": [encoded]}).encode(),
        lambda: json.dumps({"signature_name": "neighbours", "instances": value}).encode(),
        lambda: json.dumps({"inputs": value, "instances": value}).encode(),
        lambda: json.dumps({"instances": [{"bytes": value}, {"bytes": encoded}]}).encode(),
        lambda: json.dumps({"instances": [{"b64": "not base64!"}]}).encode(),
        lambda: rng.bytes(rng.integers(1, 500)),
        lambda: b"",
    ]
    paths = [_PREDICT] * 8 + [
        "/v1/models/digits/versions/" + "9" * 5_000 + ":predict",
        "/v1/models/a:predict",
        "/",
        "/%00",
    ]
    return Mutation("json", rest=(paths[rng.integers(len(paths))], kinds[rng.integers(len(kinds))]()))


def _messages(rng: np.random.Generator, healthy: list[bytes]) -> Mutation:
    request = _message("embed_bytes", bytes=np.array([healthy[0]], object))
    whole = request.SerializeToString()
    kinds = [
        lambda: flip_bits(rng, whole, rng.integers(1, 9)),
        lambda: flip_bits(rng, whole, rng.integers(1, 9), last=60),
        lambda: whole[: rng.integers(len(whole))],
        lambda: rng.bytes(rng.integers(1, 500)),
        lambda: b"",
        lambda: _message("no_such", bytes=np.array([b""], object)).SerializeToString(),
        lambda: _message("neighbours", pixels=np.zeros([1, 8])).SerializeToString(),
        lambda: _announced(rng),
    ]
    return Mutation("messages", grpc=kinds[rng.integers(len(kinds))]())


def _announced(rng: np.random.Generator) -> bytes:
    """A tensor of one number, said to be of a huge or an impossible shape."""
    request = _message("neighbours", embedding=np.ones([1], np.float32))
    tensor = request.inputs["embedding"]
    tensor.dtype = int(rng.choice([0, 1, 1, 1, 2, 7, 14, 20, 23, 99]))
    if rng.integers(2):
        tensor.float_val[:] = [1.0]
        tensor.tensor_content = b""
    tensor.tensor_shape.Clear()
    for size in rng.choice([-1, 0, 1, 8, 2**20, 2**31, 2**62], rng.integers(1, 5)):
        tensor.tensor_shape.dim.add(size=int(size))
    tensor.tensor_shape.unknown_rank = bool(rng.integers(8) == 0)
    return request.SerializeToString()


def _http(rng: np.random.Generator, healthy: list[bytes]) -> Mutation:
    encoded = base64.b64encode(healthy[0]).decode()
    body = json.dumps({"instances": [{"b64": encoded}]})
    lengths = ["-1", "x", "", "9" * 20, "9" * 5_000, str(len(body) + 50), "0", "1_0", "+5"]
    length = lengths[rng.integers(len(lengths))]
    request = f"POST {_PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}".encode()
    chunked = b"POST /v1/models/digits:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
    kinds = [
        lambda: request,
        lambda: flip_bits(rng, request, rng.integers(1, 17), last=80),
        lambda: request[: rng.integers(1, 80)],
        lambda: chunked,
        lambda: b"GET /" + b"a" * int(rng.choice([10, 70_000])) + b" HTTP/1.1\r\n\r\n",
        lambda: rng.bytes(rng.integers(1, 500)),
        lambda: b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * int(rng.choice([5, 500])) + b"\r\n",
    ]
    return Mutation("http", rest=kinds[rng.integers(len(kinds))]())


_KINDS = (_pictures, _pictures, _pictures, _pictures, _arrays, _json, _json, _messages, _messages, _http)
