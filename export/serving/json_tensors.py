"""Tensors in the JSON of TensorFlow Serving's REST interface, by rows or by columns."""

import base64
import binascii
import json
from typing import Any

import numpy as np


class BadRequest(ValueError):
    """Raised for an invalid request; the message names the reason."""


def decode_request(body: bytes, dtypes: dict[str, np.dtype]) -> tuple[dict[str, np.ndarray], bool]:
    """Reads the inputs of a request.

    Args:
        body: `{"instances": [row, …]}` or `{"inputs": {…}}`; if there is a single input, a row, or the object of inputs, may be
            the bare value. Bytes are `{"b64": "…"}`.
        dtypes: Type of each input, by name; object for strings.

    Returns:
        The inputs by name, and whether the request is by rows.

    Raises:
        BadRequest: if the body has another form.
    """
    request = read_object(body)
    by_rows = "instances" in request
    if by_rows == ("inputs" in request):
        raise BadRequest('A request must have either "instances" or "inputs"')
    columns = _columns_of_rows(request["instances"], set(dtypes)) if by_rows else request["inputs"]
    if not _has_names(columns, set(dtypes)) and len(dtypes) == 1:
        columns = {next(iter(dtypes)): columns}
    if not isinstance(columns, dict) or set(columns) != set(dtypes):
        received = sorted(columns) if isinstance(columns, dict) else type(columns).__name__
        raise BadRequest(f"Inputs must be {sorted(dtypes)}. Received: {received}")
    return {name: _array(name, columns[name], dtype) for name, dtype in dtypes.items()}, by_rows


def read_object(body: bytes) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        BadRequest: if the body is not a JSON object.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body must be JSON. Received: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise BadRequest(f"The body must be a JSON object. Received: {type(value).__name__}")
    return value


def encode_response(outputs: dict[str, np.ndarray], *, by_rows: bool) -> bytes:
    """Writes outputs by rows or by columns; a single output as the bare value."""
    columns = {name: _plain(name, values) for name, values in outputs.items()}
    only = next(iter(columns)) if len(columns) == 1 else None
    if not by_rows:
        return json.dumps({"outputs": columns[only] if only else columns}).encode()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"predictions": columns[only] if only else rows}).encode()


def decode_response(body: bytes) -> dict[str, np.ndarray]:
    """Reads several outputs that `encode_response` wrote by columns.

    Raises:
        ValueError: if the body has another form.
    """
    outputs = read_object(body).get("outputs")
    if not isinstance(outputs, dict):
        raise ValueError(f'"outputs" must be a JSON object. Received: {type(outputs).__name__}')
    try:
        return {name: np.array(_with_bytes(values)) for name, values in outputs.items()}
    except RecursionError as error:
        raise ValueError('"outputs" must not be nested so deep') from error


def encode_request(inputs: dict[str, np.ndarray], signature: str) -> bytes:
    """Writes a request by columns."""
    columns = {
        name: [{"b64": base64.b64encode(item).decode()} for item in values]
        if values.dtype == object
        else values.tolist()
        for name, values in inputs.items()
    }
    return json.dumps({"signature_name": signature, "inputs": columns}).encode()


def _columns_of_rows(rows: Any, names: set[str]) -> Any:
    if not isinstance(rows, list):
        raise BadRequest('"instances" must be a list')
    if rows and not _has_names(rows[0], names):
        return rows
    if not all(_has_names(row, names) for row in rows):
        raise BadRequest(f"Every instance must have the inputs {sorted(names)}")
    return {name: [row[name] for row in rows] for name in names}


def _has_names(value: Any, names: set[str]) -> bool:
    return isinstance(value, dict) and set(value) == names


def _array(name: str, value: Any, dtype: np.dtype) -> np.ndarray:
    try:
        plain = _with_bytes(value)
        if dtype.kind == "O":
            return _strings(plain)
        array = np.array(plain)
        if array.dtype.kind not in "biuf":
            raise BadRequest(f"{name} must be numbers in lists of equal length")
        with np.errstate(over="ignore"):  # too large a number becomes Inf
            return array.astype(dtype)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadRequest(f"{name} cannot be read: {str(error).splitlines()[0]}") from error


def _strings(value: Any) -> np.ndarray:
    if not isinstance(value, list) or not all(isinstance(item, str | bytes) for item in value):
        raise BadRequest('strings must be a list of texts or {"b64": …}')
    return np.array([item.encode() if isinstance(item, str) else item for item in value] + [None], object)[:-1]


def _with_bytes(value: Any) -> Any:
    """Replaces each `{"b64": …}` by its bytes."""
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if isinstance(value, dict):
        if set(value) != {"b64"} or not isinstance(value["b64"], str):
            raise BadRequest('An object among values must be {"b64": …}')
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest(f"b64 must be base64: {error}") from error
    return value


def _plain(name: str, values: np.ndarray) -> Any:
    """Converts values to a list for JSON; strings become base64 if the name ends in `_bytes`."""
    if values.dtype != object:
        return values.tolist()
    encode = (lambda item: {"b64": base64.b64encode(item).decode()}) if name.endswith("_bytes") else _text
    return [encode(item) for item in values.tolist()]


def _text(item: bytes) -> str:
    return item.decode(errors="replace")
