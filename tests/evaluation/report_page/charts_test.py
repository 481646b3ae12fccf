"""Tests of semppl.evaluation.report_page.charts."""

import re
import xml.etree.ElementTree as ET

import numpy as np
from absl.testing import absltest, parameterized

from semppl.evaluation.report_page import charts
from semppl.evaluation.results.reliability import reliability
from semppl.tests.evaluation.report_page.known_run import HOSTILE


class ChartsTest(parameterized.TestCase):
    def _texts(self, svg):
        return ["".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]

    def test_a_chart_is_text_in_the_colour_of_the_page(self):
        svg = charts.lines({"loss": (np.arange(5), np.arange(5.0))}, title="T", label="nats")
        self.assertIn("nats", self._texts(svg))
        self.assertIn("currentColor", svg)
        self.assertNotIn("#010203", svg)
        self.assertNotIn("http", svg)

    def test_two_charts_share_no_identifier(self):
        both = [charts.lines({"a": (np.arange(5), np.arange(5.0))}, title=title, label="x") for title in ("A", "B")]
        first, second = (set(re.findall(r' id="([^"]+)"', svg)) for svg in both)
        self.assertNotEmpty(first)
        self.assertEmpty(first & second)

    def test_counts_and_names_stand_in_a_small_matrix(self):
        svg = charts.confusion_chart(np.array([[11, 0, 5], [0, 7, 0], [0, 0, 3]]), HOSTILE, "M")
        texts = self._texts(svg)
        for expected in ("11", "5", "7", "3", "Käse & 'Öl' $x_1$"):
            self.assertIn(expected, texts)
        self.assertNotIn("0", texts)

    @parameterized.parameters(30, 31)
    def test_many_classes_are_numbered(self, count):
        names = [f"class {number}" for number in range(count)]
        self.assertEqual(
            "class 3" in self._texts(charts.confusion_chart(np.eye(count, dtype=int), names, "M")), count == 30
        )

    def test_a_diagram_has_a_bar_for_every_bin(self):
        bins = reliability(np.array([0.05, 0.5, 0.97]), np.array([True, False, True]))
        self.assertEqual(charts.reliability_diagram(bins, "R").count(charts.COLOURS[0]), 4)  # and one in the legend


if __name__ == "__main__":
    absltest.main()
