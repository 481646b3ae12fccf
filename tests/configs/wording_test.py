"""Tests of semppl.configs.wording."""

from absl.testing import absltest, parameterized

from semppl.configs.wording import counted


class CountedTest(parameterized.TestCase):
    @parameterized.parameters(
        (0, "picture", "0 pictures"),
        (1, "picture", "1 picture"),
        (2, "picture", "2 pictures"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (2, "test image", "2 test images"),
        (999, "step", "999 steps"),
        (12345, "step", "12,345 steps"),
    )
    def test_a_noun_follows_its_number(self, number, noun, expected):
        self.assertEqual(counted(number, noun), expected)


if __name__ == "__main__":
    absltest.main()
