"""Reader of pickles that contain only data: arrays, containers, numbers and strings; refuses all others.

A pickle is a program for a small stack machine, which may import and call any function. This machine has only the
instructions that data need, imports nothing, and calls only the functions of one table, which build arrays and containers.
Wrappers that the libraries of the official checkpoints (dill, Haiku, JAX, optax) put around arrays are in that table as plain
dictionaries, tuples and arrays.
"""

import io
import os
import pathlib
import pickle
import pickletools
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    BYTEARRAY8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS
    EMPTY_SET ADDITEMS FROZENSET GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ
""".split()  # noqa: SIM905
"""Instructions that data need; without registered code (EXT), persistent ids (PERSID) and calls (INST, OBJ, NEWOBJ_EX)."""


class Refused(ValueError):
    """Raised for a pickle that contains more than data; the message names the request."""


class _Damaged(ValueError):
    """Raised for a pickle that no pickler writes."""


def load(path: str | pathlib.Path) -> Any:
    """Reads a pickle of data.

    Returns:
        The pickled object. Arrays are instances of a subclass of `numpy.ndarray`; named tuples become dictionaries, or tuples if
        the file does not contain the names of their fields.

    Raises:
        ValueError: if the file contains more than data, is truncated, or is not a pickle; the message names the file.
        OSError: if the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _Machine(_WholeReads(file, os.path.getsize(path))).load()
        except Refused as error:
            asked = re.sub(r"[^ -~]+", "?", str(error))[:200]  # the text comes from the file
            raise ValueError(
                f"--source must hold arrays, containers, numbers and strings only. Received: {path}, which asks for {asked}; "
                "nothing of it was run"
            ) from None
        except EOFError:
            raise ValueError(
                f"--source must be a whole file. Received: {path}, which ends too early; fetch it again"
            ) from None
        except Exception as error:  # a damaged program raises errors of any class
            reason = re.sub(r"[^ -~]+", "?", f"{type(error).__name__}: {error}")[:200]
            raise ValueError(
                f"--source must be a pickle, undamaged. Received: {path} ({reason}); fetch it again"
            ) from error


class _WholeReads:
    """A file that raises EOFError when truncated, and never allocates memory for more bytes than it has."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise EOFError
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError
        return line


class _Array(np.ndarray):
    """An array whose content is set in a second step, as in unpickling."""

    def restore(self, state: tuple) -> None:
        _, shape, kind, column_order, raw = state
        if not isinstance(kind, _Type) or not isinstance(raw, bytes):
            raise Refused("a numpy.ndarray of Python objects")
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise _Damaged(f"an array of the shape {shape}")
        if len(raw) != kind.dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise _Damaged(f"an array {shape} of {kind.dtype} in {len(raw)} bytes")
        super().__setstate__((1, tuple(shape), kind.dtype, bool(column_order), raw))


class _Type:
    """A `numpy.dtype` of numbers or strings."""

    def __init__(self, code: str, *_flags: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(\?|[biufcSU][1-9]\d{0,5})", code):
            raise Refused(f"numpy.dtype({code if isinstance(code, str) else type(code).__name__})")
        self.dtype = np.dtype(code)

    def restore(self, state: tuple) -> None:
        _, byte_order, *fields = state[:5]
        if fields != [None, None, None] or byte_order not in ("<", ">", "|", "="):
            raise Refused("a numpy.dtype with fields")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Record:
    """A class of named tuples; its instances are dictionaries, or tuples if the names of fields are unknown."""

    def __init__(self, fields: Iterable[str] = ()) -> None:
        self._fields = tuple(fields)

    def make(self, values: tuple) -> dict[str, Any] | tuple:
        return dict(zip(self._fields, values, strict=True)) if self._fields else tuple(values)


class _Module:
    """The name of a module, which is never imported."""

    def __init__(self, name: str, *_options: object) -> None:
        self.name = name


_NDARRAY = object()
_PLAIN = (str, bytes, int, float, complex, np.generic, type(None))


def _keys(keys: Iterable[Any]) -> list[Any]:
    """Checks that keys of dictionaries, or members of sets, are plain values or tuples of these; returns them as a list.

    Python hashes nested tuples by unbounded recursion, so that thousands of levels would overflow the stack.
    """
    keys = list(keys)
    for key in keys:
        if not all(isinstance(part, _PLAIN) for part in (key if type(key) is tuple else (key,))):
            raise Refused(f"a key that is a {type(key).__name__} of more than numbers and strings")
    return keys


def _empty_array(kind: object, *_shape: object) -> _Array:
    if kind is not _NDARRAY:
        raise Refused("an array of another class than numpy.ndarray")
    return np.ndarray.__new__(_Array, (0,), np.uint8)


def _whole_array(make: object, arguments: tuple, state: tuple, *_rest: object) -> _Array:
    """Makes an array in one step, as dill and JAX pickle it."""
    if make is not _empty_array:
        raise Refused("an array that numpy does not make")
    array = _empty_array(*arguments)
    array.restore(state)
    return array


def _array_of_buffer(buffer: bytes | bytearray, kind: _Type, shape: tuple, order: str) -> np.ndarray:
    if not isinstance(buffer, bytes | bytearray):  # bytes(n) would allocate n zeros
        raise _Damaged(f"an array in a {type(buffer).__name__}")
    return np.frombuffer(bytes(buffer), kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: _Type, raw: bytes) -> np.generic:
    (value,) = np.frombuffer(raw, kind.dtype)
    return value


def _mapping(*arguments: Any) -> dict:
    """Makes a dictionary from a mapping or from pairs; a default factory is ignored."""
    if not arguments or not isinstance(arguments[-1], Mapping | list | tuple):
        return {}
    pairs = arguments[-1].items() if isinstance(arguments[-1], Mapping) else arguments[-1]
    names, values = zip(*pairs, strict=True) if pairs else ((), ())
    return dict(zip(_keys(names), values, strict=True))


def _bytes(*arguments: str) -> bytes:
    """Makes bytes: empty, or from a Latin-1 string, as protocol 2 writes bytes."""
    return arguments[0].encode("latin1") if arguments else b""


def _attribute(owner: object, name: str) -> Any:
    if not isinstance(owner, _Module):
        raise Refused(f"the attribute {name} of {type(owner).__name__}")
    return _admitted(owner.name, name)


_MULTIARRAY = (
    "numpy.core.multiarray",
    "numpy.core._multiarray_umath",
    "numpy._core.multiarray",
    "numpy._core._multiarray_umath",
)
_HAIKU = "haiku._src.data_structures"
_CALLABLES: dict[str, Callable[..., Any]] = {
    **{f"{module}._reconstruct": _empty_array for module in _MULTIARRAY},
    **{f"{module}.scalar": _scalar for module in _MULTIARRAY},
    **{f"numpy.{core}.numeric._frombuffer": _array_of_buffer for core in ("core", "_core")},
    "numpy.dtype": _Type,
    "_codecs.encode": _bytes,
    "builtins.bytes": _bytes,
    "builtins.complex": complex,
    "builtins.set": lambda members=(): set(_keys(members)),
    "builtins.frozenset": lambda members=(): frozenset(_keys(members)),
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": _mapping,
    **{f"{_HAIKU}.{name}": _mapping for name in ("FlatMapping", "FlatMap", "frozendict")},
    **{f"{dill}._create_array": _whole_array for dill in ("dill._dill", "dill.dill")},
    **{f"{dill}._create_namedtuple": lambda _name, fields, *_: _Record(fields) for dill in ("dill._dill", "dill.dill")},
    **{f"{dill}._import_module": _Module for dill in ("dill._dill", "dill.dill")},
    **{f"{dill}._get_attr": _attribute for dill in ("dill._dill", "dill.dill")},
    "jax._src.array._reconstruct_array": _whole_array,
    "jax._src.device_array.reconstruct_device_array": _whole_array,
}
_BYOL_STATE = ("online_params", "target_params", "online_state", "target_state", "opt_state")
_VALUES: dict[str, object] = {
    "numpy.ndarray": _NDARRAY,
    "builtins.dict": dict,  # default factories
    "builtins.list": list,
    "byol.byol_experiment._ByolExperimentState": _Record(_BYOL_STATE),
}
_OPTIMISER_STATES = re.compile(r"(byol|optax)\.[\w.]+State")


def _admitted(module: str, name: str) -> Any:
    """Returns the replacement of a global name in a pickle.

    Raises:
        Refused: if the name is not in a table.
    """
    full = f"{module.replace('__builtin__', 'builtins')}.{name}"
    if full in _CALLABLES:
        return _CALLABLES[full]
    if full in _VALUES:
        return _VALUES[full]
    if _OPTIMISER_STATES.fullmatch(full):
        return _Record()
    raise Refused(full)


class _Dispatch(dict):
    """Instructions of the machine by code; refuses all others."""

    def __missing__(self, code: int) -> None:
        names = [instruction.name for instruction in pickletools.opcodes if ord(instruction.code) == code]
        if not names:
            raise _Damaged(f"no instruction has the code {code}")
        raise Refused(f"the pickle instruction {names[0]}")


class _Machine(pickle._Unpickler):  # in Python, because the C version has no table of instructions
    dispatch = _Dispatch()
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]

    def find_class(self, module: str, name: str) -> Any:
        return _admitted(module, name)

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not any(function is admitted for admitted in _CALLABLES.values()):
            raise Refused(f"a call of {type(function).__name__}")
        self.stack[-1] = function(*arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        record = self.stack[-1]
        if not isinstance(record, _Record):
            raise Refused(f"an object of {type(record).__name__}")
        self.stack[-1] = record.make(arguments)

    def load_build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Type):
            raise Refused(f"a state for {type(self.stack[-1]).__name__}")
        self.stack[-1].restore(state)

    def load_bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))  # not allocated before the bytes are read

    def load_setitem(self) -> None:
        _keys(self.stack[-2:-1])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        _keys(self.stack[::2])
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        _keys(self.stack[::2])
        super().load_dict()  # type: ignore[misc]

    def load_additems(self) -> None:
        _keys(self.stack)
        super().load_additems()  # type: ignore[misc]

    def load_frozenset(self) -> None:
        _keys(self.stack)
        super().load_frozenset()  # type: ignore[misc]


_Machine.dispatch.update(
    {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _INSTRUCTIONS}
)
_Machine.dispatch.update(
    {
        pickle.REDUCE[0]: _Machine.load_reduce,
        pickle.NEWOBJ[0]: _Machine.load_newobj,
        pickle.BUILD[0]: _Machine.load_build,
        pickle.BYTEARRAY8[0]: _Machine.load_bytearray8,
        pickle.SETITEM[0]: _Machine.load_setitem,
        pickle.SETITEMS[0]: _Machine.load_setitems,
        pickle.DICT[0]: _Machine.load_dict,
        pickle.ADDITEMS[0]: _Machine.load_additems,
        pickle.FROZENSET[0]: _Machine.load_frozenset,
    }
)
