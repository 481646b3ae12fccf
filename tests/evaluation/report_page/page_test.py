"""Tests of semppl.evaluation.report_page.page."""

import html.parser
import json
import pathlib
import re
import tempfile
import warnings

import numpy as np
from absl.testing import absltest, parameterized

from semppl.data.images import NO_LABEL
from semppl.evaluation.report_page.page import report_page
from semppl.evaluation.results.classes import confusion_counts
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.tests.evaluation.report_page.known_run import HOSTILE, judged_run

_URL = re.compile(r"(?:https?:)?//[a-z]|@import|\bsrc=\"(?!data:)|url\((?!data:|#|\$\{)|<link", re.IGNORECASE)


class _Reader(html.parser.HTMLParser):
    """Collects the text of table cells by row, the headings, and the tags with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.headings, self.tags, self.text = [], [], [], []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text.append(data)
        if self._inside in ("td", "th"):
            self.rows[-1][-1] += data.strip()
        if self._inside == "h2" and data.strip():
            self.headings.append(data.strip())


class PageTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.workdir = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of characters that no font has

    def _page(self, **changes):
        given = {
            "truth": [0, 0, 0, 1, 1, 2, 2, 2],
            "classes": [0, 0, 1, 1, 2, 2, 2, 0],
            "confidence": [0.9, 0.8, 0.7, 0.95, 0.6, 0.99, 0.5, 0.4],
            "class_names": ("ant", "bee", "cat"),
        }
        return report_page(judged_run(self.workdir, **given | changes))

    def test_accuracy_table_of_classes_and_confusions_are_those_of_plain_loops(self):
        reader = _Reader(self._page())
        text = " ".join(reader.text)
        self.assertIn("62.5%", text)  # five of eight
        self.assertIn("61.1%", text)  # mean of 2/3, 1/2 and 2/3
        self.assertIn("37.5%", text)  # always "ant", or "cat"
        rows = {row[0]: row for row in reader.rows if row}
        # recall, precision, F1: ant is found twice of three times, and predicted thrice, twice rightly
        self.assertEqual(rows["ant"], ["ant", "1", "3", "0.667", "0.667", "0.667"])
        self.assertEqual(rows["bee"], ["bee", "1", "2", "0.500", "0.500", "0.500"])
        self.assertIn(["bee", "cat", "1"], reader.rows)
        self.assertIn(["cat", "ant", "1"], reader.rows)

    def test_confusions_are_counted_as_in_plain_loops(self):
        rng = np.random.default_rng(0)
        labels, classes = rng.integers(0, 4, (2, 50))
        expected = np.zeros([4, 4], int)
        for label, predicted in zip(labels, classes, strict=True):
            expected[label, predicted] += 1
        np.testing.assert_array_equal(confusion_counts(labels, classes, 4), expected)

    def test_risk_coverage_and_calibration_error_are_those_of_plain_loops(self):
        text = " ".join(_Reader(self._page()).text)
        correct = {0.99: 1, 0.95: 1, 0.9: 1, 0.8: 1, 0.7: 0, 0.6: 0, 0.5: 1, 0.4: 0}
        ranked = sorted(correct, reverse=True)
        risks = {n / 8: 1 - sum(correct[c] for c in ranked[:n]) / n for n in range(1, 9)}
        area = sum(risks.values()) / 8
        error = (
            sum(abs(correct[c] - c) for c in correct) / 8
        )  # each is alone in its bin of width 1/15 but for those below
        places = [int(np.ceil(c * 15)) for c in ranked]
        bins = {}
        for place, c in zip(places, ranked, strict=True):
            bins.setdefault(place, []).append(correct[c] - c)
        error = sum(abs(sum(gaps)) for gaps in bins.values()) / 8
        self.assertIn(f"expected calibration error {error:.3f}", text)
        self.assertIn(f"area {area:.4f}", text)
        at = f"{risks[0.5]:.1%} at 50%; {risks[7 / 8]:.1%} at 80%; {risks[1.0]:.1%} at 90%; {risks[1.0]:.1%} at 100%"
        self.assertIn(at, text)

    def test_no_other_file_or_host_is_named(self):
        (self.workdir / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
        page = self._page()
        self.assertEqual(_URL.findall(re.sub(r"base64,[A-Za-z0-9+/=\s]*", "base64,", page)), [])
        self.assertIn("Losses in nats", page)

    def test_hostile_names_of_classes_and_pictures_are_text(self):
        names = (*HOSTILE, *HOSTILE, "POINTS", "COLUMNS")
        page = self._page(class_names=HOSTILE, names=names)
        reader = _Reader(page)
        self.assertNotIn("<script>alert", page)
        self.assertEqual([tag for tag, _ in reader.tags].count("script"), 1)
        self.assertEqual([key for _, attrs in reader.tags for key in attrs if key.startswith("on")], [])
        text = "".join(reader.text)
        self.assertIn("Käse & 'Öl' $x_1$", text)
        self.assertIn("\\udce4�", text)
        page.encode("utf-8")
        points = json.loads(re.search(r"const points = (.*), columns = \[", page)[1])
        self.assertEqual(points[3][2][:2], [HOSTILE[0], HOSTILE[0]])  # after three labelled pictures
        self.assertEqual(points[9][2][0], "POINTS")

    def test_a_thousand_classes_have_a_page_of_moderate_size(self):
        rng = np.random.default_rng(0)
        truth, classes = rng.integers(0, 1000, (2, 1500))
        names = [f"class {number}" for number in range(1000)]
        page = self._page(truth=truth, classes=classes, confidence=rng.uniform(0, 1, 1500), class_names=names)
        self.assertLess(len(page), 10_000_000)
        self.assertIn("<summary>1,000 classes</summary>", page)

    def test_a_page_does_not_grow_with_the_number_of_pictures(self):
        rng, pages = np.random.default_rng(0), []
        for count in (1_200, 3_600):
            truth, classes, labelled = (rng.integers(0, 3, size) for size in (count, count, count // 2))
            pages.append(
                self._page(truth=truth, classes=classes, confidence=rng.uniform(0.4, 1, count), labelled=labelled)
            )
        few, many = ([page.count(mark) for mark in ("data:image/", "data-p=", "<figure")] for page in pages)
        self.assertEqual(few, many)
        self.assertEqual(few[1], 1_500)  # points of the map
        # The icon, two sprites of the map, 12 queries with five neighbours, 24 of the hardest and of the suspicious.
        self.assertEqual(few[0], 1 + 2 + 12 * 6 + 24 + 24)
        self.assertLess(len(pages[1]), 1.05 * len(pages[0]))

    @parameterized.named_parameters(
        ("one class", {"truth": [0, 0], "classes": [0, 0], "confidence": [1.0, 1.0], "class_names": ("ant",)}),
        ("one picture", {"truth": [1], "classes": [2], "confidence": [0.6]}),
        ("a class without a test picture", {"truth": [0, 1], "classes": [2, 1], "confidence": [0.6, 0.7]}),
        ("no label of a test picture", {"truth": [NO_LABEL] * 8}),
        ("no label at all", {"truth": [NO_LABEL] * 8, "labelled": []}),
    )
    def test_the_page_copes(self, changes):
        reader = _Reader(self._page(**changes))
        self.assertLen(reader.headings, 11)
        self.assertNotIn("nan", " ".join(reader.text).lower().split())

    def test_unlabelled_test_pictures_are_shown_and_nothing_is_measured(self):
        page = self._page(truth=[NO_LABEL] * 8)
        self.assertEqual(page.count("No true class of a judged picture is known"), 4)
        self.assertEqual(page.count('class="near"'), 8)
        self.assertNotIn("✓</b>", page)

    def test_labels_that_other_labelled_pictures_contradict_are_listed(self):
        near = np.repeat(np.eye(4)[:2], 7, axis=0) + np.linspace(0, 1e-3, 56).reshape(14, 4)
        text = " ".join(_Reader(self._page(labelled=[0] * 6 + [1] * 8, labelled_embeddings=near)).text)
        self.assertIn("; 1 in all", text)
        self.assertIn("bee → ant", text)

    def test_the_table_of_another_checkpoint_is_left_out(self):
        measured = {"accuracy": {"features": {"nearest_neighbours": 0.4321}}}
        for step, expected in ((20, True), (19, False)):
            (self.workdir / "metrics.json").write_text(json.dumps({"step": step, **measured}))
            self.assertEqual("0.4321" in self._page(), expected)


if __name__ == "__main__":
    absltest.main()
