"""Tests of semppl.export.foreign.restricted_pickle."""

import builtins
import collections
import copyreg
import importlib
import io
import operator
import os
import pathlib
import pickle
import subprocess
import sys
import tracemalloc
import types
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from semppl.export.foreign import restricted_pickle
from semppl.tests import testing
from semppl.tests.export.foreign import make_pickles

_PROTOCOLS = (0, 1, 2, 3, 4, 5)
_KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
_DATA = {
    "none": None,
    "flags": [True, False],
    "numbers": (0, -1, 255, 70_000, 2**40, -(2**80), 0.5, -1e300, 1 - 2j),
    "strings": ["", "naïve ☃", b"", b"\x00\xff", "long " * 100],
    "sets": [set(), {1, 2}, frozenset({"a"})],
    ("key", 1): collections.OrderedDict(b=1, a=2),
    "default": collections.defaultdict(list, {"a": [1]}),
}
_ARRAYS = {
    "rows": _KERNEL,
    "columns": np.asfortranarray(_KERNEL),
    "part": _KERNEL[:, ::2],
    "whole": np.array([[1, -2]], np.int64),
    "flags": np.array([True, False]),
    "half": np.float16([1.5]),
    "complex": np.complex64([1j]),
    "text": np.array(["a", "bcd"]),
    "nothing": np.zeros((0, 4)),
    "point": np.array(2.5),
    "scalar": np.float32(0.1),
}


class _Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call

    def __call__(self):
        """Does nothing, but what is called must look callable to the pickler."""


class _Foreign:
    """A class that no checkpoint has."""

    ran = False

    def __setstate__(self, state):
        _Foreign.ran = True


class _PersistentPickler(pickle.Pickler):
    def persistent_id(self, item):
        return "id" if isinstance(item, _Foreign) else None


def _assert_same(test, actual, expected):
    test.assertEqual(actual.keys(), expected.keys())
    for name, value in expected.items():
        if isinstance(value, dict):
            _assert_same(test, actual[name], value)
        elif isinstance(value, np.ndarray | np.generic):
            np.testing.assert_array_equal(actual[name], value, strict=True)
        else:
            test.assertEqual(actual[name], value)


class RestrictedPickleTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self._folder = pathlib.Path(self.create_tempdir().full_path)
        self._path = self._folder / "checkpoint.pkl"
        self._trace = self._folder / "trace"
        self._touch = f"touch {self._trace}"

    def _load(self, content):
        self._path.write_bytes(content)
        return restricted_pickle.load(self._path)

    def _assert_refused(self, content, asked):
        with self.assertRaises(ValueError) as caught:
            self._load(content)
        message = str(caught.exception)
        self.assertStartsWith(message, "--source must hold arrays, containers, numbers and strings only. Received: ")
        self.assertIn(f", which asks for {asked}; ", message)
        self.assertNotIn("\n", message)
        self.assertFalse(self._trace.exists())

    def _global(self, name):
        """Makes a function that stands, for this test, under a full name."""
        self.enter_context(mock.patch.dict(sys.modules))
        module, _, last = name.rpartition(".")
        function = types.FunctionType((lambda *_: None).__code__, {}, last)
        function.__module__, function.__qualname__ = module, last
        setattr(sys.modules.get(module) or make_pickles._module(module), last, function)
        return function

    @parameterized.parameters("0.3.2", "0.3.8")
    def test_a_checkpoint_that_dill_wrote_is_read(self, version):
        checkpoint = restricted_pickle.load(testing.golden(f"byol_dill_{version}.pkl"))
        expected = make_pickles.content()
        optimiser = checkpoint["experiment_state"].pop("opt_state")
        expected_optimiser = expected["experiment_state"].pop("opt_state")
        _assert_same(self, checkpoint, expected)
        self.assertEqual(optimiser[0], ())
        _assert_same(self, optimiser[1], expected_optimiser[1])

    @parameterized.parameters(*_PROTOCOLS)
    def test_every_protocol_of_data_is_read(self, protocol):
        loaded = self._load(pickle.dumps(_DATA, protocol=protocol))
        self.assertEqual(loaded, _DATA)

    @parameterized.parameters(*_PROTOCOLS)
    def test_every_protocol_of_arrays_is_read_bit_for_bit(self, protocol):
        _assert_same(self, self._load(pickle.dumps(_ARRAYS, protocol=protocol)), _ARRAYS)

    @parameterized.parameters(2, 5)
    def test_the_other_byte_order_is_read(self, protocol):
        loaded = self._load(pickle.dumps(_KERNEL.astype(">f4"), protocol=protocol))
        np.testing.assert_array_equal(loaded, _KERNEL)

    def test_what_was_one_array_is_one_array(self):
        first, second = self._load(pickle.dumps([_KERNEL, _KERNEL], protocol=2))
        self.assertIs(first, second)

    def test_a_list_may_hold_itself(self):
        ring = []
        ring.append(ring)
        loaded = self._load(pickle.dumps(ring))
        self.assertIs(loaded[0], loaded)

    @parameterized.parameters("jax._src.array._reconstruct_array", "jax._src.device_array.reconstruct_device_array")
    def test_an_array_of_jax_is_its_values(self, name):
        aval = {"weak_type": False, "named_shape": {}}
        array = _Call(self._global(name), *_KERNEL.__reduce__(), aval)
        np.testing.assert_array_equal(self._load(pickle.dumps(array, protocol=2)), _KERNEL)

    @parameterized.parameters("FlatMapping", "FlatMap", "frozendict")
    def test_a_mapping_of_haiku_is_a_dictionary(self, name):
        mapping = _Call(self._global(f"haiku._src.data_structures.{name}"), {"a": {"w": 1}})
        self.assertEqual(self._load(pickle.dumps(mapping, protocol=2)), {"a": {"w": 1}})

    def test_states_of_optimisers_are_tuples(self):
        name = "optax._src.transform.ScaleByScheduleState"
        state = b"\x80\x02c" + name.rpartition(".")[0].encode() + b"\nScaleByScheduleState\nK\x07\x85\x81."
        self.assertEqual(self._load(state), (7,))
        self._assert_refused(state.replace(b"optax", b"opera"), name.replace("optax", "opera"))
        self._assert_refused(state.replace(b"State", b"StateMaker"), f"{name}Maker")

    def test_the_hostile_call_would_run_elsewhere(self):
        pickle.loads(pickle.dumps(_Call(os.system, self._touch)))
        self.assertTrue(self._trace.exists())

    @parameterized.product(protocol=_PROTOCOLS, depth=(0, 3))
    def test_a_call_of_the_shell_is_refused_by_name(self, protocol, depth):
        hostile = _Call(os.system, self._touch)
        for _ in range(depth):
            hostile = {"w": [hostile]}
        self._assert_refused(pickle.dumps(hostile, protocol=protocol), f"{os.system.__module__}.system")

    @parameterized.parameters(
        (eval, "builtins.eval"),
        (exec, "builtins.exec"),
        (getattr, "builtins.getattr"),
        (open, f"{open.__module__}.open"),  # "_io" since Python 3.12
        (builtins.bytearray, "builtins.bytearray"),
        (importlib.import_module, "importlib.import_module"),
        (subprocess.Popen, "subprocess.Popen"),
        (operator.attrgetter, "operator.attrgetter"),
        (np.load, "numpy.load"),
        (np.fromfile, "numpy.fromfile"),
        (np.ndarray.tofile, "builtins.getattr"),
        (pickle.loads, "_pickle.loads"),
    )
    def test_every_other_function_is_refused_by_name(self, function, name):
        self._assert_refused(pickle.dumps(_Call(function, self._touch), protocol=4), name)

    @parameterized.parameters("dill._dill._eval_repr", "dill._dill._create_type", "dill._dill._load_type")
    def test_what_else_dill_would_call_is_refused_by_name(self, name):
        hostile = _Call(self._global(name), f"__import__('os').system({self._touch!r})")
        self._assert_refused(pickle.dumps(hostile, protocol=2), name)

    @parameterized.parameters(("os", "system"), ("builtins", "eval"), ("numpy.core._multiarray_umath", "fromfile"))
    def test_functions_that_dill_imports_by_text_are_refused_by_name(self, module, name):
        get_attribute, import_module = (self._global(f"dill._dill.{n}") for n in ("_get_attr", "_import_module"))
        function = _Call(get_attribute, _Call(import_module, module), name)
        self._assert_refused(pickle.dumps(_Call(function, self._touch), protocol=2), f"{module}.{name}")

    def test_a_dotted_name_does_not_reach_into_what_is_admitted(self):
        content = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
        self._assert_refused(content, "numpy.ndarray.tofile")

    @parameterized.parameters(*_PROTOCOLS)
    def test_a_foreign_class_is_refused_by_name(self, protocol):
        foreign = _Foreign()
        foreign.state = 1
        asked = f"{__name__}._Foreign" if protocol > 1 else "copyreg._reconstructor"
        self._assert_refused(pickle.dumps(foreign, protocol=protocol).replace(b"copy_reg", b"copyreg"), asked)
        self.assertFalse(_Foreign.ran)

    @parameterized.parameters(2, 5)
    def test_an_array_of_objects_is_refused(self, protocol):
        hostile = np.empty(1, object)
        hostile[0] = _Call(os.system, self._touch)
        self._assert_refused(pickle.dumps({"w": hostile}, protocol=protocol), "numpy.dtype(O8)")

    @parameterized.parameters(
        (np.zeros(2, [("w", "f4")]), "numpy.dtype(V4)"),
        (np.zeros(1, "M8[s]"), "numpy.dtype(M8)"),
        (np.matrix([[1.0]]), "numpy.matrix"),
        (np.ma.masked_array([1.0]), "numpy.ma.core._mareconstruct"),
    )
    def test_other_kinds_of_array_are_refused(self, array, asked):
        content = pickle.dumps(array, protocol=2).replace(b"numpy.matrixlib.defmatrix\nmatrix", b"numpy\nmatrix")
        self._assert_refused(content, asked)

    @parameterized.parameters((0, "PERSID"), (2, "BINPERSID"))
    def test_persistent_ids_are_refused(self, protocol, instruction):
        buffer = io.BytesIO()
        _PersistentPickler(buffer, protocol).dump({"w": _Foreign()})
        self._assert_refused(buffer.getvalue(), f"the pickle instruction {instruction}")

    @parameterized.parameters((1, "EXT1"), (300, "EXT2"), (70_000, "EXT4"))
    def test_functions_by_number_are_refused(self, code, instruction):
        copyreg.add_extension(os.system.__module__, "system", code)
        self.addCleanup(copyreg.remove_extension, os.system.__module__, "system", code)
        content = pickle.dumps(_Call(os.system, self._touch), protocol=2)
        self._assert_refused(content, f"the pickle instruction {instruction}")

    @parameterized.parameters(
        (b"(S'true'\nios\nsystem\n.", "the pickle instruction INST"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"(c_codecs\nencode\nS'true'\no.", "the pickle instruction OBJ"),
        (b"\x80\x04c_codecs\nencode\n)}\x92.", "the pickle instruction NEWOBJ_EX"),
        (b"\x80\x02c__builtin__\ndict\n)\x81.", "an object of type"),
        (b"\x80\x02c__builtin__\ndict\n)R.", "a call of type"),
        (b"\x80\x02})R.", "a call of dict"),
        (b"\x80\x02c_codecs\nencode\n}b.", "a state for function"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "a state for type"),
        (b"\x80\x05\x97.", "the pickle instruction NEXT_BUFFER"),
    )
    def test_other_ways_to_call_are_refused(self, content, asked):
        self._assert_refused(content, asked)

    def test_an_array_by_a_function_of_the_files_choice_is_refused(self):
        make = self._global("dill._dill._create_array")
        encode = _Call(make, *_Call(__import__("_codecs").encode, "b", "latin1")._call, ())
        self._assert_refused(pickle.dumps(encode, protocol=2), "an array that numpy does not make")

    @parameterized.parameters(
        ((np.ndarray, (0,), b"b"), (1, (1,), np.dtype("f4"), False, [_Call(os.getcwd)]), "{os}.getcwd"),
        ((np.ndarray, (0,), b"b"), (1, (1,), np.dtype("f4"), False, ["text"]), "a numpy.ndarray of Python objects"),
        ((np.ndarray, (0,), b"b"), (1, (1,), "f4", False, b"1234"), "a numpy.ndarray of Python objects"),
        ((dict, (0,), b"b"), (1, (1,), np.dtype("f4"), False, b"1234"), "an array of another class than numpy.ndarray"),
    )
    def test_an_array_of_anything_but_numbers_is_refused(self, arguments, state, asked):
        make = self._global("dill._dill._create_array")
        array = _Call(make, np.zeros(1).__reduce__()[0], arguments, state)
        self._assert_refused(pickle.dumps(array, protocol=2), asked.format(os=os.getcwd.__module__))

    def test_a_type_with_fields_is_refused(self):
        start, end = (
            b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<N",
            b"NK\x00K\x00K\x00tb.",
        )
        self.assertIsNotNone(self._load(start + b"N" + end))
        self._assert_refused(start + b"(X\x01\x00\x00\x00wt" + end, "a numpy.dtype with fields")

    def test_an_attribute_of_a_value_is_refused(self):
        attribute = _Call(self._global("dill._dill._get_attr"), "text", "encode")
        self._assert_refused(pickle.dumps(attribute, protocol=2), "the attribute encode of str")

    def test_words_of_the_file_do_not_break_the_line(self):
        name = "a\nb\x1b[31m" + "c" * 1000
        content = b"\x80\x04\x8c\x02os\x8c" + b"\xf0" + name[:240].encode().ljust(240) + b"\x93."
        self._assert_refused(content, "os.a?b?[31m" + "c" * (200 - len("os.a?b?[31m")))

    @parameterized.parameters("byol_dill_0.3.2.pkl", "byol_dill_0.3.8.pkl")
    def test_every_truncated_file_is_refused_in_one_line(self, name):
        content = testing.golden(name).read_bytes()
        for length in range(0, len(content), 7):
            with self.assertRaisesRegex(ValueError, "^--source must be a whole file. .*ends too early; .*$"):
                self._load(content[:length])

    @parameterized.parameters(
        b"<!DOCTYPE html><html>404</html>",
        b"\x00" * 100,
        b"\x80\x02h\x07.",
        b"\x80\x02u.",
        b"\x80\x09N.",
        pickle.dumps(_KERNEL, protocol=2).replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"),
        pickle.dumps(_KERNEL, protocol=2).replace(b"K\x02K\x03\x86", b"K\x02J\xff\xff\xff\xff\x86"),
        pickle.dumps(_KERNEL, protocol=2).replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00f3"),
    )
    def test_damaged_files_are_refused_in_one_line(self, content):
        with self.assertRaisesRegex(ValueError, "^--source must be a pickle, undamaged. Received: .*; fetch it again$"):
            self._load(content)

    def test_a_giant_length_takes_no_memory(self):
        with self.assertRaisesRegex(ValueError, "ends too early"):
            self._load(b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"abc")

    def test_a_giant_bytearray_takes_no_memory(self):
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        with self.assertRaisesRegex(ValueError, "ends too early"):
            self._load(b"\x80\x05\x96" + (2**28).to_bytes(8, "little") + b"abc")
        self.assertLess(tracemalloc.get_traced_memory()[1], 2**20)

    def test_a_number_is_no_buffer(self):
        buffer = self._global("numpy.core.numeric._frombuffer")
        array = _Call(buffer, 2**20, np.dtype("u1"), (2**20,), "C")
        with self.assertRaisesRegex(ValueError, "an array in a int"):
            self._load(pickle.dumps(array, protocol=2))

    @parameterized.parameters(
        (b"}", b"Ns"),
        (b"}(", b"Nu"),
        (b"(", b"Nd"),
        (b"\x8f(", b"\x90"),
        (b"(", b"\x91"),
        (b"c__builtin__\nset\n", b"\x85\x85R"),
        (b"c__builtin__\nfrozenset\n", b"\x85\x85R"),
        (b"ccollections\nOrderedDict\n", b"N\x86\x85\x85R"),
    )
    def test_keys_of_tuples_in_tuples_are_refused(self, start, end):
        self.assertIsNotNone(self._load(b"\x80\x04" + start + b"K\x01\x85" + end + b"."))
        self._assert_refused(
            b"\x80\x04" + start + b")\x85" + end + b".", "a key that is a tuple of more than numbers and strings"
        )

    def test_a_missing_file_is_named(self):
        with self.assertRaisesRegex(FileNotFoundError, "checkpoint.pkl"):
            restricted_pickle.load(self._path)


if __name__ == "__main__":
    absltest.main()
