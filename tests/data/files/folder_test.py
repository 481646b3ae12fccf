"""Tests of semppl.data.files.folder and semppl.data.files.label_file: what a folder holds, and what a CSV says of it."""

import os
import pathlib
import re
import unicodedata
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from semppl.data.files import folder as folders
from semppl.data.files.folder import list_folder
from semppl.data.files.label_file import Row, read_label_file
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class _FolderTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path) / "pictures"
        self.root.mkdir()

    def touch(self, *paths):
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).touch()

    def csv(self, text, encoding="utf-8", name="labels.csv"):
        (self.root / name).write_bytes(text.encode(encoding))
        return f"{self.root}?labels={name}"

    def assertRefused(self, argument, message):
        with self.assertRaises(ValueError) as caught:
            list_folder(argument)
        self.assertRegex(str(caught.exception), message)
        self.assertNotIn("\n", str(caught.exception))


class ListFolderTest(_FolderTest):
    def test_pictures_are_found_at_any_depth_in_the_order_of_their_paths(self):
        self.touch("b.JPG", "a/z.png", "a/deep/er/x.webp", "c.tiff", "d.jpeg", "e.gif", "f.bmp")
        self.touch("notes.txt", ".hidden.png", ".thumbnails/a.png", "README")
        found = list_folder(str(self.root))
        self.assertEqual(found.paths, ("a/deep/er/x.webp", "a/z.png", "b.JPG", "c.tiff", "d.jpeg", "e.gif", "f.bmp"))
        self.assertEqual([row.label for row in found.rows], [""] * 7)
        self.assertEqual((found.others, found.files_without_row), (3, 0))

    def test_swapped_columns_are_asked_about(self):
        self.touch("a.png", "b.png")
        swapped = self.csv("path,label\ncat,a.png\ndog,b.png\n")
        self.assertRefused(swapped, r"in the column path\. Received: the picture 'a.png' as a label, .*swapped\?$")
        found = list_folder(self.csv("path,label\na.png,b.png\ngone.png,cat\n"))  # a class may have such a name
        self.assertEqual([row.label for row in found.rows], ["b.png", ""])

    def test_the_first_subfolder_is_the_class_if_asked(self):
        self.touch("cat/1.png", "cat/deep/2.png", "dog/1.png", "loose.png")
        found = list_folder(f"{self.root}?labels=folders")
        labels = dict(zip(found.paths, [row.label for row in found.rows], strict=True))
        self.assertEqual(labels, {"cat/1.png": "cat", "cat/deep/2.png": "cat", "dog/1.png": "dog", "loose.png": ""})

    def test_names_with_spaces_commas_and_foreign_letters_are_names(self):
        names = ("a b.png", "c,d.png", "größe/ä ö.png", "日本.png", 'quo"te.png', "question?.png")
        self.touch(*names)
        self.assertCountEqual(list_folder(str(self.root)).paths, names)
        argument = self.csv('path,label\n"c,d.png",x\ngröße/ä ö.png,y\n"quo""te.png",z\nquestion?.png,q\n')
        labels = {row.path: row.label for row in list_folder(argument).rows if row.label}
        self.assertEqual(labels, {"c,d.png": "x", "größe/ä ö.png": "y", 'quo"te.png': "z", "question?.png": "q"})

    def test_an_umlaut_is_the_same_however_it_is_composed(self):
        self.touch(unicodedata.normalize("NFD", "ü.png"))
        found = list_folder(self.csv("path,label\n" + unicodedata.normalize("NFC", "ü.png") + ",x\n"))
        self.assertEqual([row.label for row in found.rows], ["x"])
        self.assertEmpty(found.rows_without_file)

    def test_names_that_are_no_unicode_are_names(self):
        (pathlib.Path(str(self.root)) / b"\xff\xfe.png".decode("utf-8", "surrogateescape")).touch()
        self.assertLen(list_folder(str(self.root)).paths, 1)

    def test_links_are_followed_and_loops_end(self):
        self.touch("a/1.png")
        outside = self.root.parent / "outside"
        outside.mkdir()
        (outside / "2.png").touch()
        (self.root / "a" / "loop").symlink_to(self.root)
        (self.root / "b").symlink_to(outside)
        (outside / "back").symlink_to(outside)
        (self.root / "nothing.png").symlink_to(self.root / "gone.png")
        found = list_folder(str(self.root))
        self.assertEqual(found.paths, ("a/1.png", "b/2.png"))
        self.assertEqual(found.unreadable, (f"{self.root}/nothing.png: a link to nothing",))

    def test_a_folder_that_must_not_be_read_is_counted(self):
        self.touch("1.png", "closed/2.png")
        scandir = folders.os.scandir

        def closed(path):
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        with mock.patch.object(folders.os, "scandir", side_effect=closed):
            found = list_folder(str(self.root))
        self.assertEqual(found.paths, ("1.png",))
        self.assertEqual(found.unreadable, (f"{self.root}/closed: Permission denied",))

    def test_a_folder_of_no_use_is_one_line(self):
        self.assertRefused(
            f"{self.root}/none", r"^--data must name an existing folder after folder:\. Received: .*/none$"
        )
        self.assertRefused("", "^--data must name an existing folder after folder:")
        self.assertRefused(str(self.root), r"^--data must be a folder with a picture in it \(\.bmp .*with none$")
        self.touch("a.png")
        self.assertRefused(f"{self.root}/a.png", "^--data must name an existing folder after folder:")
        self.assertRefused(f"{self.root}?labels=none.csv", "^--data must name a CSV file .* Received: none.csv, but ")

    def test_a_label_file_that_is_not_there_names_both_places_that_were_tried(self):
        self.touch("a.png")
        places = rf"there is no {self.root}/none\.csv and no {os.getcwd()}/none\.csv$"
        self.assertRefused(f"{self.root}?labels=none.csv", places)

    @parameterized.parameters(
        ("?labels=folders&labels_per_class=5", "--labels_per_class=5"),
        ("?labels_per_class=5", "--labels_per_class=5"),
        ("?labels=folders&shrink=64&channels=1", "--shrink=64 --channels=1"),
    )
    def test_a_flag_among_the_options_is_named_as_a_flag(self, options, meant):
        self.touch("a.png")
        self.assertRefused(f"{self.root}{options}", rf"; did you mean {re.escape(meant)}, a flag of its own\?$")

    def test_a_mistyped_option_names_the_right_one(self):
        self.touch("a.png")
        for option in ("label", "Labels"):
            given, meant = f"{self.root}?{option}=a.csv", f"{self.root}?labels=a.csv"
            self.assertRefused(given, rf"Received: {re.escape(given)}; did you mean folder:{re.escape(meant)}\?$")

    def test_a_label_file_may_stand_elsewhere(self):
        self.touch("a.png")
        other = self.root.parent / "other.csv"
        other.write_text("path,label\na.png,x\n")
        self.assertEqual(list_folder(f"{self.root}?labels={other}").rows, (Row("a.png", "x"),))


class LabelFileTest(_FolderTest):
    def read(self, text, encoding="utf-8"):
        self.csv(text, encoding)
        return list(read_label_file(self.root / "labels.csv", self.root).values())

    def assertNotRead(self, text, message, encoding="utf-8"):
        self.touch("a.png")
        self.assertRefused(self.csv(text, encoding), message)

    @parameterized.parameters("utf-8", "utf-8-sig")
    def test_any_line_ends_and_a_byte_order_mark_are_read(self, encoding):
        for end in ("\n", "\r\n", "\r"):
            rows = self.read(end.join(("path,label", "a.png,x", '"b.png","y z"', "c.png,", "")), encoding)
            self.assertEqual(rows, [Row("a.png", "x"), Row("b.png", "y z"), Row("c.png", "")])

    def test_columns_come_in_any_order_and_more_of_them_are_ignored(self):
        rows = self.read(" Label ,when,path,ID,mask\nx,1999,a.png,7,m/a.png\n,,b.png\n")
        self.assertEqual(rows, [Row("a.png", "x", "7", "m/a.png"), Row("b.png", "")])

    def test_cells_that_a_row_lacks_are_empty(self):
        self.assertEqual(
            self.read("id,path,label\n7,a.png\n8,b.png,x\n"), [Row("a.png", "", "7"), Row("b.png", "x", "8")]
        )

    def test_paths_are_made_plain(self):
        rows = self.read(f"path,label\n./a//b.png,x\nc\\d.png,y\n{self.root}/e.png,z\n\n")
        self.assertEqual([row.path for row in rows], ["a/b.png", "c/d.png", "e.png"])

    def test_rows_that_agree_are_one(self):
        rows = self.read("path,label,id\na.png,x,\na.png,,3\na.png,x,3\n")
        self.assertEqual(rows, [Row("a.png", "x", "3")])

    def test_rows_that_contradict_each_other_are_named(self):
        self.assertNotRead(
            "path,label\na.png,x\nb.png,z\n./a.png,y\n",
            r"^A picture must have one label\. Received: a\.png: 'x' and 'y' \(.*labels\.csv, line 4\)$",
        )

    @parameterized.parameters("../a.png", "x/../../a.png", "..\\a.png", ".", "a.png\0.png")
    def test_a_path_that_leaves_the_folder_is_named(self, path):
        self.assertNotRead(f"path,label\n{path},x\n", r"^(Every path must stay below|.* must be a CSV file).*line 2")

    def test_a_mask_that_leaves_the_folder_is_named(self):
        self.assertNotRead("path,label,mask\na.png,x,../m.png\n", "^Every mask must stay below .*'../m.png'.*line 2")

    @parameterized.parameters("latin-1", "utf-16", "cp1252")
    def test_another_encoding_is_named(self, encoding):
        self.assertNotRead("path,label\nä.png,x\n", r"labels\.csv must be UTF-8\. Received: byte 0x.. at \d+", encoding)

    @parameterized.parameters("", "\n", "path;label\na.png;x\n", "file,label\na.png,x\n", "path\na.png\n")
    def test_a_file_without_the_columns_is_named(self, text):
        self.assertNotRead(text, "labels.csv must begin with a line of names, path and label among them. Received: ")

    def test_a_quote_that_never_ends_is_named(self):
        self.assertNotRead('path,label\n"a.png,x\n', "labels.csv must be a CSV file. Received: line 2: unexpected end")

    def test_a_row_without_a_path_is_named(self):
        self.assertNotRead(
            "path,label\n,x\n", r"^Every row must name a picture\. Received: an empty path \(.*line 2\)$"
        )

    def labels(self, text):
        found = list_folder(self.csv("path,label\n" + text))
        self.assertEmpty(found.rows_without_file)
        return {row.path: row.label for row in found.rows if row.label}

    def test_a_path_is_taken_as_it_stands_before_it_is_rewritten(self):
        self.touch("dir\\x.png", " scan.png", "dir/y.png", "plain.png")
        self.assertEqual(self.labels("dir\\x.png,a\n scan.png,b\n"), {"dir\\x.png": "a", " scan.png": "b"})
        self.assertEqual(self.labels("dir\\y.png,a\n plain.png ,b\n"), {"dir/y.png": "a", "plain.png": "b"})

    def test_a_path_through_a_link_is_the_picture_that_is_there(self):
        self.touch("2024/1.png", "2.png")
        (self.root / "latest").symlink_to("2024")
        self.assertEqual(self.labels("latest/1.png,a\n"), {"2024/1.png": "a"})
        link = self.root.parent / "link"
        link.symlink_to(self.root)
        self.assertEqual(self.labels(f"{link}/2.png,a\n{self.root}/2024/1.png,b\n"), {"2.png": "a", "2024/1.png": "b"})
        (link / "labels.csv").write_text(f"path,label\n{self.root}/2.png,a\n")
        rows = list_folder(f"{link}?labels=labels.csv").rows
        self.assertEqual([row.label for row in rows], ["a", ""])

    def test_a_class_is_one_however_its_name_is_composed_or_padded(self):
        self.touch("1.png", "2.png", "3.png", "Größe/4.png")
        names = [unicodedata.normalize(form, "Größe") for form in ("NFC", "NFD")]
        text = f"1.png,{names[0]}\n2.png,{names[1]}\n3.png, {names[0]} \n"
        self.assertEqual(set(self.labels(text).values()), {names[0]})
        (self.root / "Größe").rename(self.root / f"{names[1]} ")
        self.assertEqual({row.label for row in list_folder(f"{self.root}?labels=folders").rows}, {"", names[0]})

    @parameterized.parameters(
        ('1.png,"zero\n2.png,zero\n3.png,one"\n', "lines 2 to 4: a label with line breaks"),
        ('1.png,"one\n(thin)"\n', "lines 2 to 3: a label with line breaks"),
        ('"1.png,zero\n2.png",one\n', "lines 2 to 3: a path with line breaks"),
    )
    def test_a_stray_quote_swallows_no_row(self, rows, message):
        self.assertNotRead(
            f"path,label\n{rows}", f"labels.csv must be a CSV file. Received: {message}; a quote may be open"
        )

    def test_rows_and_files_that_lack_each_other_are_counted(self):
        self.touch("a.png", "b.png", "c.png")
        found = list_folder(self.csv("path,label\na.png,x\ngone.png,y\nalso/gone.png,\n"))
        self.assertEqual(found.rows_without_file, ("gone.png", "also/gone.png"))
        self.assertEqual(found.files_without_row, 2)
        self.assertEqual([row.label for row in found.rows], ["x", "", ""])


if __name__ == "__main__":
    tf.test.main()
