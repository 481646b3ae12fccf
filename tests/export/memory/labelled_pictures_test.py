"""Tests of semppl.export.memory.labelled_pictures."""

import pathlib
import unicodedata

from absl.testing import absltest, parameterized

from semppl.export.memory.labelled_pictures import numbered, read_labelled_pictures
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class LabelledPicturesTest(parameterized.TestCase):
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
        return [(row.path.name, row.label) for row in read_labelled_pictures(self._write(text, encoding))]

    def test_rows_are_read_in_order(self):
        self.assertEqual(self._read("path,label\na.png,cat\nb c.png,dog\n"), [("a.png", "cat"), ("b c.png", "dog")])

    @parameterized.named_parameters(
        ("other_order_and_columns", "width,label,path\n3,cat,a.png\n", "utf-8"),
        ("windows_lines", "path,label\r\na.png,cat\r\n", "utf-8"),
        ("byte_order_mark", "path,label\na.png,cat\n", "utf-8-sig"),
        ("capitals_and_spaces_in_the_header", "Path, Label\na.png,cat\n", "utf-8"),
        ("spaces_and_dots_in_paths", "path,label\n .//a.png ,cat\n", "utf-8"),
        ("quotes", '"path","label"\n"a.png","cat"\n', "utf-8"),
        ("spaces_around_the_label", "path,label\na.png, cat \n", "utf-8"),
        ("rows_without_a_label", "path,label\nü.png,\na.png,cat\nb c.png\n", "utf-8"),
    )
    def test_it_is_read_all_the_same_with(self, text, encoding):
        self.assertEqual(self._read(text, encoding), [("a.png", "cat")])

    def test_a_path_is_taken_as_it_stands_before_it_is_rewritten(self):
        for name in ("x\\a.png", " b.png"):
            (self.folder / name).touch()
        rows = "x\\a.png,cat\n b.png,cat\n.\\a.png,cat\n"
        self.assertEqual([name for name, _ in self._read(f"path,label\n{rows}")], ["x\\a.png", " b.png", "a.png"])

    def test_classes_are_one_however_their_names_are_composed(self):
        nfc, nfd = (unicodedata.normalize(form, "pâté") for form in ("NFC", "NFD"))
        names, labels = numbered([nfc, "new", nfd, "zoo"], ["zoo", nfd])
        self.assertEqual((names, labels.tolist()), (("zoo", nfd, "new"), [1, 2, 1, 0]))

    def test_a_label_may_hold_anything(self):
        self.assertEqual(self._read('path,label\nü.png,"Größe, ""M"""\n'), [("ü.png", 'Größe, "M"')])

    def test_a_path_may_be_absolute(self):
        (row,) = read_labelled_pictures(self._write(f"path,label\n{self.folder / 'a.png'},cat\n"))
        self.assertEqual(row.path, self.folder / "a.png")

    @parameterized.parameters(
        (
            "path,class\na.png,cat\n",
            "must begin with a line of names, path and label among them. Received: path, class",
        ),
        ("", "must begin with a line of names, path and label among them. Received: no line"),
        ("path,label\na.png,\n", "--labels must have a labelled picture"),
        ("path,label\na.png,cat\nx.png,cat\n", "--labels must name existing pictures. .*x.png .*, line 3"),
        ("path,label\n,cat\n", "Every row must name a picture. Received: an empty path .*, line 2"),
        (f"path,label\n{'x' * 999},cat\n", "--labels must name existing pictures"),
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
        with self.assertRaisesRegex(ValueError, f"labels.csv must be a CSV file. Received: {message}"):
            self._read(f"path,label\n{rows}")

    def test_a_header_that_is_too_long_is_refused(self):
        with self.assertRaisesRegex(ValueError, "labels.csv must be a CSV file. Received: line 1: field larger"):
            self._read(f"path,label,{'x' * 131_073}\na.png,cat\n")

    def test_a_further_column_may_have_several_lines(self):
        text = 'path,label,note\na.png,cat,"of\ntwo lines"\nb c.png,dog,\n'
        self.assertEqual(self._read(text), [("a.png", "cat"), ("b c.png", "dog")])

    def test_another_encoding_is_refused(self):
        with self.assertRaisesRegex(ValueError, "labels.csv must be UTF-8. Received: byte"):
            self._read("path,label\nü.png,cat\n", "latin-1")

    def test_a_file_that_is_not_there_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--labels must be a file that can be read"):
            read_labelled_pictures(self.folder / "none.csv")


if __name__ == "__main__":
    absltest.main()
