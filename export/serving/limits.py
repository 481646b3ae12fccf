"""Limits of a model server."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of each request, and of all requests together.

    Attributes:
        rows: Maximum batch size.
        request_bytes: Maximum size of a request, in bytes.
        at_once: Maximum number of requests that are computed concurrently.
        seconds: Time limit of a request in the queue.
    """

    rows: int = 256
    request_bytes: int = 2**26
    at_once: int = 2
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                flag = f"max_{field.name}" if field.name != "seconds" else "wait_seconds"
                raise ValueError(f"--{flag} must be positive. Received: {getattr(self, field.name)}")
