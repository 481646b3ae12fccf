"""Tests of semppl.configs.similar_names."""

from absl.testing import absltest, parameterized

from semppl.configs.similar_names import is_similar, similar_pairs


class SimilarNamesTest(parameterized.TestCase):
    def test_every_pair_is_listed_in_order_and_a_name_is_not_its_own_pair(self):
        names = ["Dress", "hat", "dress", "café", "hats", "Cafe", "dress", "car"]
        self.assertEqual(similar_pairs(names), [("Dress", "dress"), ("hat", "hats"), ("café", "Cafe")])
        self.assertEmpty(similar_pairs([]))

    def test_pairs_are_those_that_are_nearly_the_same(self):
        names = ["class 1", "class 11", "Packshot", "Pakcshot", "shirt", "shorts", "Packshots"]
        expected = [(a, b) for number, a in enumerate(names) for b in names[number + 1 :] if is_similar(a, b)]
        self.assertEqual(similar_pairs(names), expected)
        self.assertLen(expected, 2)

    def test_a_number_that_is_inserted_makes_another_name(self):
        self.assertFalse(is_similar("class 1", "class 12"))
        self.assertTrue(is_similar("classes 1", "clases 1"))


if __name__ == "__main__":
    absltest.main()
