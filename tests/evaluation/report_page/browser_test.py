"""Shows a report in a browser: on a desktop, on a phone and on paper."""

import json
import pathlib
import tempfile
import warnings

import numpy as np
from absl.testing import absltest

from semppl.evaluation.report_page.page import report_page
from semppl.tests import testing
from semppl.tests.evaluation.report_page.known_run import HOSTILE, judged_run
from semppl.tests.programs.pages import browser

_CUT_OFF = """
return [...document.querySelectorAll("h1, h2, p, figcaption, li, svg.chart, .map")].filter(element => {
  const box = element.getBoundingClientRect();
  return box.right > innerWidth + 1 || box.left < -1 || element.scrollWidth > element.clientWidth + 1 && element.clientWidth;
}).map(element => element.outerHTML.slice(0, 80));
"""


@testing.slow
class BrowserTest(absltest.TestCase):
    def test_a_report_is_whole_on_a_desktop_on_a_phone_and_on_paper(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        lines = [json.dumps({"step": step, "loss": 1 / step, "pseudo_label_accuracy": 0.5}) for step in range(1, 50)]
        (folder / "metrics.jsonl").write_text("\n".join(lines))
        rng = np.random.default_rng(0)
        names = (*HOSTILE, "a" * 80, *(f"class {number}" for number in range(8)))
        truth, classes = rng.integers(0, len(names), (2, 200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of characters that no font has
            judged = judged_run(
                folder, truth=truth, classes=classes, confidence=rng.uniform(0.1, 1, 200), class_names=names
            )
            (folder / "report.html").write_text(report_page(judged), encoding="utf-8")
        with browser.chromium() as driver:
            driver.get((folder / "report.html").as_uri())
            for width, media in ((1200, ""), (390, ""), (794, "print")):
                browser.show_as(driver, width, mobile=width == 390, media=media)
                self.assertLessEqual(browser.width_of(driver), width, msg=f"{width} {media}")
                self.assertEqual(driver.execute_script(_CUT_OFF), [], msg=f"{width} {media}")
            browser.show_as(driver, 1200)
            self._check_content(driver)
            self.assertEqual(driver.get_log("browser"), [])

    def _check_content(self, driver):
        self.assertLen(driver.find_elements("tag name", "h2"), 11)
        self.assertLen(driver.find_elements("css selector", "svg.chart"), 5)
        pictures = driver.execute_script("return [...document.images].map(image => image.naturalWidth)")
        self.assertGreater(min(pictures), 0)  # all are decoded
        self.assertIn(HOSTILE[0], driver.find_element("id", "classes").find_element("xpath", "following::table").text)
        from selenium.webdriver import ActionChains

        tip = driver.find_element("id", "tip")
        self.assertFalse(tip.is_displayed())
        mark = driver.find_element("css selector", ".map circle:last-of-type")
        ActionChains(driver).scroll_to_element(mark).move_to_element(mark).perform()
        self.assertTrue(tip.is_displayed())
        self.assertIn("predicted:", tip.text)
        shown = tip.find_element("tag name", "i").value_of_css_property("background-image")
        self.assertTrue(shown.startswith('url("data:image'))


if __name__ == "__main__":
    absltest.main()
