"""Tests of semppl.trainers.run_options."""

from absl.testing import absltest, parameterized

from semppl.trainers.run_options import RunOptions


class RunOptionsTest(parameterized.TestCase):
    @parameterized.parameters("worker_patience", "steps_per_execution", "checkpoint_every", "log_every")
    def test_intervals_are_at_least_one(self, name):
        self.assertEqual(getattr(RunOptions(**{name: 1}), name), 1)
        with self.assertRaises(ValueError) as caught:
            RunOptions(**{name: 0})
        self.assertEqual(str(caught.exception), f"--{name} must be 1 or more. Received: 0")

    @parameterized.parameters(-1.0, float("nan"))
    def test_minutes_are_not_negative(self, minutes):
        self.assertEqual(RunOptions(checkpoint_minutes=0.0).checkpoint_minutes, 0)
        with self.assertRaises(ValueError) as caught:
            RunOptions(checkpoint_minutes=minutes)
        self.assertEqual(str(caught.exception), f"--checkpoint_minutes must be 0 or more. Received: {minutes}")


if __name__ == "__main__":
    absltest.main()
