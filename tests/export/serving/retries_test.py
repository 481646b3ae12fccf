"""Tests of semppl.export.serving.retries."""

from absl.testing import absltest

from semppl.export.serving.retries import Unavailable, with_retries


class RetriesTest(absltest.TestCase):
    def _ask(self, failures, attempts, problem=Unavailable):
        """Asks what fails some times; keeps the pauses."""
        self.asked, self.pauses, self.waits = 0, [], []

        def answer():
            self.asked += 1
            if self.asked <= failures:
                raise problem("not yet")
            return "answer"

        return with_retries(answer, attempts=attempts, waits=self.waits.append, sleep=self.pauses.append)

    def test_it_asks_until_there_is_an_answer(self):
        self.assertEqual(self._ask(2, 4), "answer")
        self.assertEqual((self.asked, [str(error) for error in self.waits]), (3, ["not yet"]))

    def test_it_gives_up_after_the_last_attempt(self):
        with self.assertRaises(Unavailable):
            self._ask(9, 4)
        self.assertEqual((self.asked, len(self.pauses)), (4, 3))

    def test_a_refusal_is_not_asked_again(self):
        with self.assertRaises(ValueError):
            self._ask(1, 4, ValueError)
        self.assertEqual(self.asked, 1)

    def test_pauses_grow_and_end_growing(self):
        with self.assertRaises(Unavailable):
            self._ask(99, 12)
        for number, pause in enumerate(self.pauses):
            longest = min(0.1 * 2**number, 5.0)
            self.assertBetween(pause, longest / 2, longest)


if __name__ == "__main__":
    absltest.main()
