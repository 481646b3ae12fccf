"""Rendezvous of workers before TensorFlow's own, which waits for an hour and cannot be interrupted."""

import os
import socket
import time
from collections.abc import Sequence

_GREETING = "semppl worker "
_GO = b"go"
_PAUSE = 0.2
_SECONDS_TO_GREET = 5.0


def meet(addresses: Sequence[str], place: int, patience: float) -> None:
    """Waits until all workers have started.

    Args:
        addresses: `host:port` of each worker, the chief's first.
        place: Position of this worker in `addresses`.
        patience: Seconds that the other workers have to start.

    Raises:
        ValueError: If a worker has not started in time, naming the worker, or this worker's port is taken.
    """
    deadline = time.monotonic() + patience
    others = ", ".join(addresses[1:]) if place == 0 else f"the chief, {addresses[0]}"
    if others:
        print(f"waiting for {others}, up to {patience:g} s (--worker_patience)", flush=True)
    if place:
        _bound(addresses[place]).close()
    missing = _welcome(addresses, deadline) if place == 0 else _report(addresses[0], place, deadline)
    if missing:
        start = f"start within {patience:g} s (--worker_patience)"
        raise ValueError(f"TF_CONFIG must name workers that {start}. Received: {', '.join(missing)}")


def _welcome(addresses: Sequence[str], deadline: float) -> list[str]:
    """Waits, as the chief, until every other worker has called, and lets all go; returns those that have not."""
    callers: dict[int, socket.socket] = {}
    with _bound(addresses[0]) as server:
        while len(callers) < len(addresses) - 1:
            server.settimeout(max(_PAUSE, deadline - time.monotonic()))
            try:
                caller = server.accept()[0]
            except TimeoutError:
                return [address for place, address in enumerate(addresses) if place and place not in callers]
            place = _greeted(caller)
            if 0 < place < len(addresses):
                callers[place] = caller
            callers = {place: caller for place, caller in callers.items() if _still_calls(caller)}
        for caller in callers.values():
            with caller:
                caller.settimeout(_SECONDS_TO_GREET)
                caller.sendall(_GO)
                caller.recv(1)  # the worker hangs up first, so that the port is free at once
    return []


def _bound(address: str) -> socket.socket:
    """Listens at a worker's own port, which TensorFlow will do: where it cannot, it leaves the others waiting."""
    try:
        return socket.create_server(("", _parsed(address)[1]))
    except OSError as error:
        raise ValueError(
            f"TF_CONFIG must give each worker a free port. Received: {address} ({os.strerror(error.errno or 0)})"
        ) from error


def _greeted(caller: socket.socket) -> int:
    """Returns the number of the worker that calls, or 0 for anybody else."""
    caller.settimeout(_SECONDS_TO_GREET)
    try:
        greeting = caller.recv(64).decode()
    except (OSError, UnicodeDecodeError):
        return 0
    number = greeting.removeprefix(_GREETING)
    return int(number) if greeting.startswith(_GREETING) and number.isdecimal() else 0


def _still_calls(caller: socket.socket) -> bool:
    """Returns whether a worker still waits; one that was stopped has closed its connection."""
    caller.setblocking(False)
    try:
        return caller.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _report(chief: str, place: int, deadline: float) -> list[str]:
    """Calls the chief until it says go; returns its address if it does not."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection(_parsed(chief), timeout=left) as call:
                call.sendall(f"{_GREETING}{place}".encode())
                if call.recv(len(_GO)) == _GO:
                    return []
        except OSError:  # it has not started, or was started again
            pass
        time.sleep(_PAUSE)
    return [chief]


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)
