"""Tests of semppl.export.memory.label_file."""

import pathlib

from absl.testing import absltest, parameterized

from semppl.export.memory.label_file import read_label_file
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class LabelFileTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        for name in ("a.png", "b c.png", "ü.png"):
            (self.folder / name).touch()

    def _write(self, text, encoding="utf-8"):
        path = self.folder / "labels.csv"
        path.write_bytes(text.encode(encoding))
        return path

    def _read(self, text, encoding="utf-8"):
        return [(row.path.name, row.label) for row in read_label_file(self._write(text, encoding))]

    def test_rows_are_read_in_order(self):
        self.assertEqual(self._read("path,label\na.png,cat\nb c.png,dog\n"), [("a.png", "cat"), ("b c.png", "dog")])

    @parameterized.named_parameters(
        ("other_order_and_columns", "width,label,path\n3,cat,a.png\n", "utf-8"),
        ("windows_lines", "path,label\r\na.png,cat\r\n", "utf-8"),
        ("byte_order_mark", "path,label\na.png,cat\n", "utf-8-sig"),
        ("quotes", '"path","label"\n"a.png","cat"\n', "utf-8"),
        ("spaces_around_the_label", "path,label\na.png, cat \n", "utf-8"),
        ("rows_without_a_label", "path,label\nü.png,\na.png,cat\nb c.png\n", "utf-8"),
    )
    def test_it_is_read_all_the_same_with(self, text, encoding):
        self.assertEqual(self._read(text, encoding), [("a.png", "cat")])

    def test_a_label_may_hold_anything(self):
        self.assertEqual(self._read('path,label\nü.png,"Größe, ""M"""\n'), [("ü.png", 'Größe, "M"')])

    def test_a_path_may_be_absolute(self):
        (row,) = read_label_file(self._write(f"path,label\n{self.folder / 'a.png'},cat\n"))
        self.assertEqual(row.path, self.folder / "a.png")

    @parameterized.parameters(
        ("path,class\na.png,cat\n", "--labels must have the columns path and label. Received: .*, with path, class"),
        ("", "--labels must have the columns path and label"),
        ("path,label\na.png,\n", "--labels must have a labelled picture"),
        ("path,label\na.png,cat\nx.png,cat\n", "--labels must name pictures that are there. .*x.png .*, line 3"),
        ("path,label\n,cat\n", "--labels must name pictures that are there"),
        (f"path,label\n{'x' * 999},cat\n", "--labels must name pictures that are there"),
    )
    def test_what_is_no_label_file_is_refused(self, text, message):
        with self.assertRaisesRegex(ValueError, message):
            self._read(text)

    @parameterized.named_parameters(
        (
            "to_the_end",
            'a.png,"cat\nb c.png,dog\nü.png,cat\n',
            "lines 2 to 4: unexpected end of data; a quote may be open",
        ),
        ("to_the_next", 'ü.png,cat\na.png,"cat\nb c.png,"dog"\n', "lines 3 to 4: .* expected .*; a quote may be open"),
        ("of_a_path", '"a.png,cat\nb c.png,dog\n', "lines 2 to 3: .*; a quote may be open"),
        (
            "over_two_labels",
            'a.png,"cat\nb c.png,dog"\n',
            "lines 2 to 3: a label with line breaks; a quote may be open",
        ),
        ("over_lines_of_unicode", "a.png,cat\u2028dog\n", "line 2: a label with line breaks; a quote may be open"),
        ("over_very_much", f'a.png,"{"x" * 131_073}"\n', "line 2: field larger than field limit"),
    )
    def test_an_open_quote_is_refused(self, rows, message):
        with self.assertRaisesRegex(ValueError, f"^--labels must be a CSV file. Received: .*labels.csv, {message}"):
            self._read(f"path,label\n{rows}")

    def test_a_header_that_is_too_long_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--labels must be a CSV file. Received: .*, line 1: field larger"):
            self._read(f"path,label,{'x' * 131_073}\na.png,cat\n")

    def test_a_further_column_may_have_several_lines(self):
        text = 'path,label,note\na.png,cat,"of\ntwo lines"\nb c.png,dog,\n'
        self.assertEqual(self._read(text), [("a.png", "cat"), ("b c.png", "dog")])

    def test_another_encoding_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--labels must be encoded as UTF-8"):
            self._read("path,label\nü.png,cat\n", "latin-1")

    def test_a_file_that_is_not_there_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--labels must be a CSV file"):
            read_label_file(self.folder / "none.csv")


if __name__ == "__main__":
    absltest.main()
