"""Tests of semppl.evaluation.report_page.curves."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from semppl.evaluation.report_page import curves


class CurvesTest(absltest.TestCase):
    def test_numbers_are_read_by_name_and_a_cut_line_is_left_out(self):
        workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        lines = '{"step": 10, "loss": 2.0, "pseudo_label_accuracy": 0.5}\n{"step": 20, "loss": 1.5}\n{"step": 30, "lo'
        (workdir / "metrics.jsonl").write_text(lines)
        found = curves.read_curves(workdir)
        self.assertEqual(
            {name: [*map(list, curve)] for name, curve in found.items()},
            {
                "loss": [[10, 20], [2.0, 1.5]],
                "pseudo_label_accuracy": [[10], [0.5]],
            },
        )
        captions = [caption for caption, _ in curves.curve_charts(found)]
        self.assertLen(captions, 2)
        self.assertIn("Losses", captions[0])
        self.assertIn("pseudo-labels", captions[1])

    def test_a_run_without_reports_has_no_curves(self):
        self.assertEqual(curves.curve_charts(curves.read_curves("no/such/run")), [])

    def test_long_curves_are_averaged(self):
        steps, values = curves.thinned(np.arange(1000), np.arange(1000) * 2.0, most=10)
        np.testing.assert_allclose(steps, [sum(range(first, first + 100)) / 100 for first in range(0, 1000, 100)])
        np.testing.assert_allclose(values, 2 * steps)


if __name__ == "__main__":
    absltest.main()
