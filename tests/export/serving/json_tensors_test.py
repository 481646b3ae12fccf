"""Tests of semppl.export.serving.json_tensors."""

import base64
import json

import numpy as np
from absl.testing import absltest, parameterized

from semppl.export.serving import json_tensors

_FILES = {"bytes": np.dtype(object)}
_NUMBERS = {"images": np.dtype(np.float32)}
_TWO = {"bytes": np.dtype(object), "images": np.dtype(np.float32)}
_OUTPUTS = {
    "label": np.array([1, 2], np.int32),
    "name": np.array([b"a", "ü".encode()], object),
    "abstain": np.array([True, False]),
}


def _b64(data):
    return {"b64": base64.b64encode(data).decode()}


def _decode(request, dtypes):
    return json_tensors.decode_request(json.dumps(request).encode(), dtypes)


class RequestTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("bare_rows", {"instances": [_b64(b"\xff\0"), _b64(b"b\0")]}, True),
        ("named_rows", {"instances": [{"bytes": _b64(b"\xff\0")}, {"bytes": _b64(b"b\0")}]}, True),
        ("bare_column", {"inputs": [_b64(b"\xff\0"), _b64(b"b\0")]}, False),
        ("named_column", {"inputs": {"bytes": [_b64(b"\xff\0"), _b64(b"b\0")]}}, False),
    )
    def test_bytes_are_read_from(self, request, by_rows):
        inputs, rows = _decode(request, _FILES)
        self.assertEqual(rows, by_rows)
        self.assertEqual(inputs["bytes"].tolist(), [b"\xff\0", b"b\0"])  # a trailing zero is a byte like any other
        self.assertEqual((inputs["bytes"].dtype, inputs["bytes"].shape), (np.dtype(object), (2,)))

    def test_a_text_is_its_utf8_bytes(self):
        inputs, _ = _decode({"inputs": ["ü"]}, _FILES)
        self.assertEqual(inputs["bytes"].tolist(), ["ü".encode()])

    def test_numbers_are_read_in_the_type_of_the_input(self):
        inputs, _ = _decode({"instances": [[[1, 2]], [[3, 4.5]]]}, _NUMBERS)
        np.testing.assert_array_equal(inputs["images"], np.array([[[1, 2]], [[3, 4.5]]], np.float32))
        self.assertEqual(inputs["images"].dtype, np.float32)

    def test_no_rows_are_an_empty_list(self):
        for request in ({"instances": []}, {"inputs": []}, {"inputs": {"bytes": []}}):
            inputs, _ = _decode(request, _FILES)
            self.assertEqual((inputs["bytes"].dtype, inputs["bytes"].shape), (np.dtype(object), (0,)))

    def test_several_inputs_come_by_name(self):
        row = {"bytes": _b64(b"a"), "images": [1.0]}
        by_rows, _ = _decode({"instances": [row, row]}, _TWO)
        by_columns, _ = _decode({"inputs": {"bytes": [_b64(b"a")] * 2, "images": [[1.0]] * 2}}, _TWO)
        for inputs in (by_rows, by_columns):
            self.assertEqual(inputs["bytes"].tolist(), [b"a", b"a"])
            self.assertEqual(inputs["images"].tolist(), [[1.0], [1.0]])

    @parameterized.named_parameters(
        ("no_json", b"{", _FILES, "must be JSON"),
        ("deep", b"[" * 100_000, _FILES, "must be JSON"),
        ("no_object", b"[1]", _FILES, "must be a JSON object"),
        ("neither", b"{}", _FILES, 'either "instances" or "inputs"'),
        ("both", b'{"instances": [1], "inputs": [1]}', _FILES, 'either "instances" or "inputs"'),
        ("rows_that_are_none", b'{"instances": 3}', _FILES, "must be a list"),
        ("rows_of_two_kinds", b'{"instances": [{"bytes": "a"}, "a"]}', _FILES, "Every instance"),
        ("other_names", b'{"inputs": {"a": [1], "b": [2]}}', _TWO, "Inputs must be"),
        ("no_base64", b'{"inputs": [{"b64": "!"}]}', _FILES, "b64 must be base64"),
        ("b64_of_a_number", b'{"inputs": [{"b64": 3}]}', _FILES, "must be {"),
        ("numbers_for_strings", b'{"inputs": [1]}', _FILES, "strings must be"),
        ("strings_for_numbers", b'{"inputs": ["a"]}', _NUMBERS, "must be numbers"),
        ("ragged_numbers", b'{"inputs": [[1], [1, 2]]}', _NUMBERS, "cannot be read"),
        ("null", b'{"inputs": [null]}', _NUMBERS, "must be numbers"),
    )
    def test_it_is_refused_if_it_is(self, body, dtypes, message):
        with self.assertRaisesRegex(json_tensors.BadRequest, message):
            json_tensors.decode_request(body, dtypes)

    def test_what_a_client_writes_is_read(self):
        inputs = {"bytes": np.array([b"\xff\0", b""], object), "images": np.array([[0.1], [2]], np.float32)}
        body = json_tensors.encode_request(inputs, "a signature")
        self.assertEqual(json.loads(body)["signature_name"], "a signature")
        read, by_rows = json_tensors.decode_request(body, _TWO)
        self.assertFalse(by_rows)
        for name, value in inputs.items():
            np.testing.assert_array_equal(read[name], value)


class ResponseTest(absltest.TestCase):
    def test_rows_hold_every_output(self):
        answer = json.loads(json_tensors.encode_response(_OUTPUTS, by_rows=True))
        expected = [{"label": 1, "name": "a", "abstain": True}, {"label": 2, "name": "ü", "abstain": False}]
        self.assertEqual(answer, {"predictions": expected})

    def test_columns_hold_every_row(self):
        answer = json.loads(json_tensors.encode_response(_OUTPUTS, by_rows=False))
        self.assertEqual(answer, {"outputs": {"label": [1, 2], "name": ["a", "ü"], "abstain": [True, False]}})

    def test_an_only_output_has_no_name(self):
        outputs = {"label": np.array([1, 2])}
        self.assertEqual(json_tensors.encode_response(outputs, by_rows=True), b'{"predictions": [1, 2]}')
        self.assertEqual(json_tensors.encode_response(outputs, by_rows=False), b'{"outputs": [1, 2]}')

    def test_strings_that_are_named_bytes_are_base64(self):
        answer = json_tensors.encode_response({"file_bytes": np.array([b"\xff"], object)}, by_rows=True)
        self.assertEqual(json.loads(answer), {"predictions": [_b64(b"\xff")]})

    def test_a_client_reads_columns(self):
        read = json_tensors.decode_response(json_tensors.encode_response(_OUTPUTS, by_rows=False))
        self.assertEqual({name: value.tolist() for name, value in read.items()}["name"], ["a", "ü"])
        np.testing.assert_array_equal(read["abstain"], [True, False])


if __name__ == "__main__":
    absltest.main()
