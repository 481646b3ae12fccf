"""Tests of semppl.evaluation.robustness.measurement."""

import contextlib
import io
import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from semppl.data.images import ImageSet
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

    def test_at_most_a_thousand_images_are_drawn_and_always_the_same_ones(self):
        images = ImageSet(np.zeros([1200, 1, 1, 1], np.uint8), np.arange(1200))
        seen = measurement._seen(images)
        self.assertLen(set(seen.tolist()), 1000)
        self.assertEqual(seen.tolist(), sorted(measurement._seen(images).tolist()))
        self.assertGreater(seen[-1], 1000)
        self.assertLen(measurement._seen(images.select(np.arange(7))), 7)

    def test_the_digest_is_of_images_and_classes(self):
        pixels, labels = np.arange(4 * 12, dtype=np.uint8).reshape(4, 2, 2, 3), np.array([0, 1, 0, 1])
        digests = [
            measurement.digest_of_seen(ImageSet(*images), names)
            for images, names in (
                ((pixels, labels), ("a", "b")),
                ((pixels.copy(), 1 - labels), ("b", "a")),  # the same classes, numbered otherwise
                ((pixels, 1 - labels), ("a", "b")),
                ((pixels[::-1], labels), ("a", "b")),
                ((pixels, labels), ("a", "c")),
            )
        ]
        self.assertEqual(digests[0], digests[1])
        self.assertLen(set(digests[1:]), 4)

    def test_a_baseline_must_be_measured_on_the_same_images(self):
        folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        with self.assertRaisesRegex(
            ValueError, "^--baseline must be the folder of a run .*which has no robustness.json"
        ):
            measurement.read_errors(folder, {"images": 3})
        report = {"images": 4, "images_sha256": "b", "errors": {"a": {}}}
        (folder / "robustness.json").write_text(json.dumps(report), encoding="utf-8")
        own = {"images": 4, "images_sha256": "b"}
        self.assertEqual(measurement.read_errors(folder, own), {"a": {}})
        with self.assertRaisesRegex(ValueError, "^--baseline must be measured on the same 3 test images.*, on 4$"):
            measurement.read_errors(folder, own | {"images": 3})
        with self.assertRaisesRegex(ValueError, "same 4 test images: evaluate .*, whose test images or labels differ"):
            measurement.read_errors(folder, own | {"images_sha256": "c"})
        del report["images_sha256"]
        (folder / "robustness.json").write_text(json.dumps(report), encoding="utf-8")
        with contextlib.redirect_stderr(io.StringIO()) as warned:
            self.assertEqual(measurement.read_errors(folder, own), {"a": {}})
        self.assertStartsWith(warned.getvalue(), "warning: ")


if __name__ == "__main__":
    absltest.main()
