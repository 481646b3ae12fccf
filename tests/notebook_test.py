"""Executes the notebook of docs/tutorials, as a reader would, in a folder of its own."""

import importlib.util
import os
import pathlib
import tempfile
import unittest
from unittest import mock

from absl.testing import absltest

from semppl.tests import testing

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "tutorials" / "own_pictures.ipynb"
SECONDS = 900
"""How long a cell may take on a machine that is busy."""


@unittest.skipUnless(
    all(importlib.util.find_spec(package) for package in ("nbclient", "nbformat", "ipykernel")),
    'the extra "dev" is not installed',
)
class NotebookTest(absltest.TestCase):
    def test_outputs_are_not_committed(self):
        import nbformat

        for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
            self.assertEmpty(cell.get("outputs", ()))

    @testing.slow
    def test_every_cell_runs_and_the_model_is_right_more_often_than_not(self):
        import nbclient
        import nbformat

        notebook = nbformat.read(NOTEBOOK, as_version=4)
        folder = self.enter_context(tempfile.TemporaryDirectory())
        self.enter_context(mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT), "IPYTHONDIR": f"{folder}/ipython"}))
        nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        text = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
        self.assertRegex(text, r"step 300/300")
        accuracy = float(text.partition("\naccuracy ")[2].partition(",")[0])
        self.assertGreater(accuracy, 0.75)
        self.assertLen([output for output in outputs if "image/png" in output.get("data", {})], 2)


if __name__ == "__main__":
    absltest.main()
