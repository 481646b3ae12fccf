"""The real TensorBoard on a real comparison, in a headless Chromium: every dashboard has what the documentation names."""

import contextlib
import pathlib
import re
import subprocess
import sys
import threading
import time

from absl.testing import absltest

import semppl
from semppl.tests import testing
from semppl.tests.programs.pages.browser import chromium

ROOT = pathlib.Path(semppl.__file__).resolve().parents[1]
_TINY = (
    *("--preset=digits", "--width=0.125", "--head_width=16", "--embedding_width=8", "--steps=20", "--warmup_steps=0"),
    *("--batch_size=32", "--labelled_batch_size=8", "--queue_size=64", "--eval_every=10", "--log_every=5"),
)
_SHOWN = {
    "scalars": ("accuracy", "health", "loss", "optimisation", "queue"),
    "images": ("views", "pseudo_labels"),
    "histograms": ("similarities",),
    "hparams": ("labels_per_class", "method", "seed", "accuracy, logistic regression", "frozen-1-0", "semppl-1-1"),
    "projector": ("embedding 50x", "metadata.tsv", "pseudo_label 10", "truth 10"),
}
"""Texts on each dashboard."""

_TEXT = """
const found = [];
(function walk(node) {
  if (node.shadowRoot) walk(node.shadowRoot);
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) found.push(child.textContent.trim());
    else if (child.nodeName === "IFRAME") child.contentDocument.body && walk(child.contentDocument.body);
    else if (!["STYLE", "SCRIPT"].includes(child.nodeName)) walk(child);
  }
})(document.body);
return found.join(" ");
"""
"""Script that returns the text of a page, of its components and of its frames."""


@contextlib.contextmanager
def _tensorboard(logdir):
    """Yields the address of a TensorBoard."""
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", "--port=0", "--host=127.0.0.1"]
    command += ["--load_fast=false"]  # Python alone, as after `make setup`
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://127\S+/", line)))
            threading.Thread(
                target=process.stderr.read, daemon=True
            ).start()  # what nobody reads would block the server
            yield address
        finally:
            process.kill()


class TensorBoardTest(absltest.TestCase):
    @testing.slow
    def test_a_browser_finds_scalars_images_histograms_projector_and_hparams(self):
        workdir = pathlib.Path(self.create_tempdir().full_path) / "all"
        programs = (
            ["compare", *_TINY, "--methods=semppl", "--seeds=2", f"--workdir={workdir}"],
            ["projector", "--projector_images=50", f"--workdir={workdir / 'semppl-1-0'}"],
        )
        with chromium(1400, 1000) as driver:
            for name, *arguments in programs:
                command = [sys.executable, "-m", f"semppl.experiments.{name}", *arguments]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
            with _tensorboard(workdir) as address:
                for dashboard, texts in _SHOWN.items():
                    with self.subTest(dashboard):
                        driver.get("about:blank")
                        driver.get(f"{address}#{dashboard}")
                        self._assert_shown(driver, texts)

    def _assert_shown(self, driver, texts):
        """Waits for texts on the page, since TensorBoard reads events while the page is open."""
        deadline = time.monotonic() + 60
        missing = texts
        while missing and time.monotonic() < deadline:
            time.sleep(0.5)
            shown = driver.execute_script(_TEXT)
            missing = [text for text in texts if text not in shown]
        self.assertEqual(missing, [], shown[:2000])


if __name__ == "__main__":
    absltest.main()
