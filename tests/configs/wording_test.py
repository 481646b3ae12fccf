"""Tests of semppl.configs.wording."""

import re

from absl.testing import absltest, parameterized

from semppl.configs.wording import counted
from semppl.tests.architecture_test import python_sources


class CountedTest(parameterized.TestCase):
    @parameterized.parameters(
        (0, "picture", "0 pictures"),
        (1, "picture", "1 picture"),
        (2, "picture", "2 pictures"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "test image", "2 test images"),
    )
    def test_a_noun_follows_its_number(self, number, noun, expected):
        self.assertEqual(counted(number, noun), expected)

    def test_messages_count_pictures_images_and_classes_with_it(self):
        """A literal plural after a number that is computed is wrong where the number is 1."""
        plural = re.compile(
            r"\{(?:len|sum|count)\b[^{}]*\} (?:[a-z]+ )?(?:pictures|images|classes|labels|files|rows)\b|\(s\)"
        )
        for source in python_sources():
            if source.folder not in ("tests", "benchmarks", "layers"):
                with self.subTest(source.path):
                    found = [
                        line
                        for line in source.text.splitlines()
                        if re.search(r'(?<!\w)f"', line) and plural.search(line)
                    ]
                    self.assertEmpty(found)


if __name__ == "__main__":
    absltest.main()
