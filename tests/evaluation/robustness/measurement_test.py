"""Tests of semppl.evaluation.robustness.measurement."""

import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from semppl.evaluation.robustness import measurement
from semppl.evaluation.robustness.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt


def _bright(images):
    """Classifies by brightness, and by nothing."""
    return {"bright": (images.mean((1, 2, 3)) > 128).astype(int), "zero": np.zeros(len(images), int)}


class MeasurementTest(absltest.TestCase):
    def test_every_picture_is_corrupted_by_its_position(self):
        images = np.random.default_rng(0).integers(90, 160, (6, 8, 8, 3)).astype(np.uint8)
        truth = np.array([0, 1, 0, 1, 1, 1])
        with mock.patch.object(measurement, "EXTRA_CORRUPTIONS", {}):
            errors = measurement.corrupted_errors(_bright, images, truth, seed=7)
        self.assertEqual(list(errors["bright"]["corruptions"]), list(CORRUPTIONS))
        self.assertAlmostEqual(errors["zero"]["clean"], 4 / 6)
        self.assertAlmostEqual(errors["bright"]["clean"], np.mean(_bright(images)["bright"] != truth))
        for name in ("fog", "snow"):
            for severity in (2, 5):
                corrupted = [corrupt(image, name, severity, position=at, seed=7) for at, image in enumerate(images)]
                expected = np.mean(_bright(np.stack(corrupted))["bright"] != truth)
                self.assertAlmostEqual(errors["bright"]["corruptions"][name][severity - 1], expected)

    def test_a_comparison_is_over_the_fifteen(self):
        fifteen = dict.fromkeys(CORRUPTIONS, [0.3] * 5)
        own = {"clean": 0.1, "corruptions": fifteen | dict.fromkeys(EXTRA_CORRUPTIONS, [0.9] * 5)}
        other = {"clean": 0.2, "corruptions": dict.fromkeys(CORRUPTIONS | EXTRA_CORRUPTIONS, [0.6] * 5)}
        compared = measurement.beside_baseline({"nearest_neighbours": own}, {"logistic_regression": other})
        self.assertAlmostEqual(compared["nearest_neighbours"]["mce"], 0.5)
        self.assertAlmostEqual(compared["nearest_neighbours"]["relative_mce"], 0.2 / 0.4)
        report = {"errors": {"nearest_neighbours": own}, "baseline": "b", "beside_baseline": compared}
        lines = measurement.robustness_lines(report | {"shifted": {"folder:x": {"nearest_neighbours": 0.25}}})
        self.assertEqual(lines[-1], "nearest_neighbours beside b: mCE 0.5000, relative mCE 0.5000")
        self.assertRegex(lines[1], r"^clean +0\.1000$")
        self.assertRegex(lines[-2], r"^folder:x +0\.2500$")
        compared["nearest_neighbours"]["mce"] = None
        self.assertIn("mCE undefined (the baseline", measurement.robustness_lines(report)[-1])

    def test_a_baseline_must_be_measured_on_the_same_images(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        with self.assertRaisesRegex(
            ValueError, "^--baseline must be the folder of a run .*which has no robustness.json"
        ):
            measurement.read_errors(folder, 3)
        (folder / "robustness.json").write_text(json.dumps({"images": 4, "errors": {"a": {}}}), encoding="utf-8")
        self.assertEqual(measurement.read_errors(folder, 4), {"a": {}})
        with self.assertRaisesRegex(ValueError, "^--baseline must be measured on the same 3 test images.*, on 4$"):
            measurement.read_errors(folder, 3)


if __name__ == "__main__":
    absltest.main()
