"""Tests of semppl.data.files.left_out: what a listing leaves out is counted and named."""

import pathlib

from absl.testing import absltest, parameterized

from semppl.data.files.folder import list_folder
from semppl.data.files.left_out import how_to_convert
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class LeftOutTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def remarks(self, paths, labels="", csv=""):
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).touch()
        if csv:
            (self.root / "labels.csv").write_text(csv)
        return list_folder(f"{self.root}{labels}").remarks

    def test_an_ordinary_folder_needs_no_remark(self):
        paths = ("cat/1.jpg", "dog/2.png", "notes.txt", ".git/config", "train/3.png")
        self.assertEmpty(self.remarks(paths, "?labels=folders"))

    def test_pictures_of_other_formats_are_counted_with_the_way_to_convert_them(self):
        (remark,) = self.remarks(("1.jpg", "1.HEIC", "a/2.heic", "b.txt"))
        self.assertRegex(
            remark, r"^2 files ending in .heic are not read: convert them, .*mogrify -format jpg \*\.HEIC \*\.heic`"
        )

    def test_the_way_to_convert_a_file_names_the_file(self):
        expected = "convert it, for example with `mogrify -format jpg 'a b.HEIC'` of ImageMagick"
        self.assertEqual(how_to_convert("a b.HEIC"), expected)
        self.assertEqual(how_to_convert("a.png"), "")

    def test_a_folder_of_nothing_else_says_so_too(self):
        with self.assertRaisesRegex(ValueError, "with none; 1 file ending in .heic is not read: convert"):
            self.remarks(("1.heic",))

    def test_rows_of_files_that_are_there_are_not_called_missing(self):
        self.remarks(("1.jpg", "2.heic"), csv="path,label\n1.jpg,a\n2.heic,a\n3.jpg,b\n")
        found = list_folder(f"{self.root}?labels=labels.csv")
        self.assertEqual(found.rows_without_file, ("3.jpg",))
        self.assertIn("1 in the CSV exist, but are not read", found.remarks)

    def test_a_class_folder_whose_name_begins_with_a_dot_is_named(self):
        (remark,) = self.remarks((".NET/deep/1.png", "java/1.png", ".empty/notes.txt"), "?labels=folders")
        self.assertEqual(
            remark, "folders with pictures are left out, since their names begin with a dot: '.NET'; rename them"
        )

    def test_thumbnails_of_a_storage_device_are_named(self):
        (remark,) = self.remarks(("a/1.png", "a/@eaDir/1.png/thumb.jpg"), "?labels=folders")
        self.assertIn("'@eaDir'", remark)

    def test_splits_taken_for_classes_are_named(self):
        (remark,) = self.remarks(("train/cat/1.png", "val/cat/1.png"), "?labels=folders")
        self.assertEqual(
            remark,
            f"the classes 'train', 'val' look like splits; name each by itself, as in folder:{self.root}/train?labels=folders",
        )

    @parameterized.parameters(("a,1\na,1\nb,2\nb,2", 1), ("a,1\na,2\nb,3\nb,3", 0), ("a,1\nb,2\n,", 0), ("a,\na,1", 0))
    def test_an_id_that_is_constant_within_each_class_is_named(self, cells, count):
        rows = [f"{number}.png,{cell}" for number, cell in enumerate(cells.split("\n"))]
        paths = [row.split(",")[0] for row in rows]
        remarks = self.remarks(paths, "?labels=labels.csv", "path,label,id\n" + "\n".join(rows))
        self.assertLen(remarks, count)
        for remark in remarks:
            self.assertStartsWith(remark, "the column id is constant within each class")


if __name__ == "__main__":
    absltest.main()
