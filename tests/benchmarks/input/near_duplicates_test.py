"""Tests of semppl.benchmarks.input.near_duplicates."""

from absl.testing import absltest

from semppl.benchmarks.input.near_duplicates import fingerprints, measure
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class NearDuplicatesTest(absltest.TestCase):
    def test_frames_are_one_group_and_other_pictures_are_none(self):
        self.assertEqual(measure(fingerprints(300, alike=True))[0], 1)
        self.assertEqual(measure(fingerprints(300, alike=False))[0], 0)

    def test_memory_is_linear_in_the_number_of_pictures(self):
        few, many = (measure(fingerprints(count, alike=True))[2] for count in (2000, 8000))
        self.assertLess(many, 5 * few)


if __name__ == "__main__":
    absltest.main()
