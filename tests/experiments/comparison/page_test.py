"""Tests of semppl.experiments.comparison.page and figure."""

import re
import xml.etree.ElementTree as ET

from absl.testing import absltest

from semppl.experiments.comparison import figure, plan, results
from semppl.experiments.comparison.page import Comparison, page
from semppl.tests.experiments.comparison import known_runs


def _shown(**changes):
    values = {
        "rows": results.rows_of(some_results()),
        "start": "imagenet",
        "settings": {"data": "folder:a<b>", "steps": 20, "encoder": "convnet", "validation": ""},
        "changes": {"frozen": {"train": "nothing"}, "supervised": {"method": "supervised", "labelled_batch_size": 0}},
        "planned": 18,
        "done": 18,
        "failed": [],
        "seeds": [0, 1, 2],
        "images": "297 test images, 10 classes",
        "command": "semppl-compare --data='folder:a<b>'",
    }
    return Comparison(**(values | changes))


def some_results():
    return [results.Result(*run) for run in known_runs.runs()]


class PageTest(absltest.TestCase):
    def test_it_is_self_contained_and_escapes_what_users_wrote(self):
        text = page(_shown())
        self.assertNotRegex(text, r"""(?:src|href)=["']?(?:https?:)?//""")
        self.assertNotIn("<script", text)
        self.assertNotIn("a<b>", text)
        self.assertIn("folder:a&lt;b&gt;", text)
        self.assertIn("width=device-width", text)

    def test_it_has_a_curve_per_classifier_the_table_the_differences_and_the_settings(self):
        text = page(_shown())
        self.assertEqual((text.count("<svg "), text.count("<td>yes</td>")), (3, 12))
        for part in (
            "frozen encoder, pretrained (imagenet)",
            "0.668  (0.602–0.751)",  # SemPPL, 1 label per class, by the nearest image
            "12 of 18 differences are significant at 95 %",
            "--method=supervised --labelled_batch_size=0",
            "<td>--steps</td><td>20</td>",
        ):
            self.assertTrue(part in text, part)  # the page is too long for an error message
        self.assertNotIn("--validation", text)
        self.assertNotIn('class="missing"', text)

    def test_it_names_methods_with_a_number_of_steps_of_their_own(self):
        self.assertIn("number of steps in every row that trains.</p>", page(_shown()))
        changes = {"simclr": {"method": "simclr", "steps": 9000}, "byol": {"method": "byol", "steps": 70}}
        text = page(_shown(changes=changes))
        self.assertIn("in every row that trains (except SimCLR: 9,000 steps; BYOL: 70 steps).</p>", text)

    def test_it_says_what_is_missing(self):
        text = page(_shown(done=16, failed=["SemPPL, seed 1"]))
        self.assertIn("16 of 18 runs ended; failed: SemPPL, seed 1.", text)
        two = page(_shown(rows=results.rows_of([run for run in some_results() if run.seed < 2])))
        self.assertIn("too few to test", two)

    def test_a_comparison_of_one_budget_has_a_page(self):
        one = results.rows_of([run for run in some_results() if run.labels_per_class == 4])
        self.assertEqual(page(_shown(rows=one)).count("<svg "), 3)


class FigureTest(absltest.TestCase):
    def test_the_axis_holds_all_values(self):
        low, high = figure.limits_of(results.rows_of(some_results()))
        self.assertAlmostEqual(low, 0.1 - 0.05 * (0.921 - 0.1))  # raw pixels; SemPPL by label spreading, seed 1
        self.assertAlmostEqual(high, 0.921 + 0.05 * (0.921 - 0.1))

    def test_lines_are_means_and_bands_the_range(self):
        rows = results.rows_for(results.rows_of(some_results()), "nearest_neighbours")
        lines = figure.lines_of([row.method for row in rows])
        svg = figure.curve(rows, "a title", "a name", (0, 1), lines)
        root = ET.fromstring(svg)
        self.assertEqual((root.get("aria-label"), root.get("width")), ("a name", None))
        self.assertIn("viewBox", root.attrib)
        self.assertIn("currentColor", svg)
        self.assertIn(">a title<", svg)
        for row in rows:
            self.assertIn(lines[row.method].colour, svg)
        self.assertEqual(len(re.findall(r'id="(?:FillBetweenPolyCollection|PolyCollection)_\d+"', svg)), len(rows))

    def test_every_method_has_a_line_of_its_own(self):
        lines = figure.lines_of(["raw_pixels", *plan.METHODS])
        self.assertLen(set(lines.values()), 1 + len(plan.METHODS))
        self.assertLen({line.colour for line in list(lines.values())[:8]}, 8)
        self.assertEqual([line.dashes for line in lines.values()][:9], ["solid"] * 8 + ["dashed"])

    def test_the_legend_has_the_lines_of_the_figures(self):
        text = page(_shown())
        for method, line in figure.lines_of(["raw_pixels", "frozen", "supervised", "semppl"]).items():
            words = results.method_in_words(method, "imagenet")
            key = f'<span style="border-top-color: {line.colour}; border-top-style: solid"></span>{words}'
            self.assertTrue(key in text, key)
            self.assertTrue(f"stroke: {line.colour}" in text, key)

    def test_equal_results_give_equal_files(self):
        rows = results.rows_of(some_results())
        lines = figure.lines_of([row.method for row in rows])
        self.assertEqual(figure.curve(rows, "a", "b", (0, 1), lines), figure.curve(rows, "a", "b", (0, 1), lines))


if __name__ == "__main__":
    absltest.main()
