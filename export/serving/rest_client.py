"""Client of a served model over REST; needs only the standard library and NumPy."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from semppl.export.serving.json_tensors import decode_response, encode_request
from semppl.export.serving.retries import NoModelServer, Refused, Unavailable, Waits, wait_silently, with_retries

_LATER = (429, 500, 502, 503, 504)


class RestClient:
    """A client of TensorFlow Serving, or of the stand-in.

    Args:
        address: URL of the server, such as http://localhost:8501.
        model: Name of the model.
        seconds: Time limit of an attempt.
        attempts: Maximum number of attempts.
        waits: Function that is called before the first pause of a request; see `with_retries`.
    """

    def __init__(
        self, address: str, model: str, *, seconds: float = 10.0, attempts: int = 4, waits: Waits = wait_silently
    ) -> None:
        self._url = f"{address.rstrip('/')}/v1/models/{urllib.parse.quote(model, safe='')}:predict"
        self._seconds = seconds
        self._attempts = attempts
        self._waits = waits

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature with several outputs on named inputs; returns its outputs by name, strings as `str`.

        Raises:
            Refused: if the server refuses the request.
            Unavailable: if the server does not answer.
            NoModelServer: if the answer is not that of a model server.
        """
        body = encode_request(inputs, signature)
        answer = with_retries(lambda: self._post(body), attempts=self._attempts, waits=self._waits)
        try:
            return decode_response(answer)
        except ValueError as error:
            raise NoModelServer(f"{self._url} answered something else: {error}") from error

    def _post(self, body: bytes) -> bytes:
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as response:
                answer: bytes = response.read()
        except urllib.error.HTTPError as error:
            message = f"{self._url} answered {error.code}: {_message(error)}"
            raise (Unavailable if error.code in _LATER else Refused)(message) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._url} did not answer: {error}") from error
        return answer


def _message(error: urllib.error.HTTPError) -> str:
    try:
        body = error.read()
    except (OSError, http.client.HTTPException):
        return "nothing more"
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
