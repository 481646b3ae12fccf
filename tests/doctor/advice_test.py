"""Tests of semppl.doctor.advice."""

from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.doctor import advice
from semppl.programs.presets import read_preset
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)

_HEADS = {
    "labels_per_class": 5,
    "encoder": "keras:MobileNetV2",
    "train": "heads",
    "initial_weights": "imagenet",
    "small_views": 0,
}
_HEADS |= {"batch_size": 128, "labelled_batch_size": 64, "negatives": 40, "queue_size": 1280, "large_size": 128}
_SCRATCH = {
    "labels_per_class": 5,
    "small_views": 0,
    "encoder": "resnet18",
    "batch_size": 64,
    "labelled_batch_size": 32,
    "negatives": 40,
    "queue_size": 640,
}


def _suggest(images, settings, *, labelled=50, channels=3, side=300, gpu=False):
    pictures = advice.Pictures(images, labelled, channels, side, gpu)
    return advice.suggest(pictures, Hyperparameters(**settings))


def _values(suggestions):
    return {name: suggestion["value"] for name, suggestion in suggestions.items()}


class SuggestTest(parameterized.TestCase):
    @parameterized.parameters((50, "32", "half of a batch of 64"), (6, "6", "that is every labelled image"))
    def test_the_reason_of_fewer_labelled_images_in_a_batch_is_the_true_one(self, labelled, value, reason):
        advised = _suggest(256, _HEADS, labelled=labelled)["labelled_batch_size"]
        self.assertEqual(advised, {"value": value, "reason": reason})

    @parameterized.parameters(
        (600, {}, "own_pictures_cpu"),
        (1_999, {"gpu": True}, "own_pictures_cpu"),
        (2_000, {"gpu": True}, "own_pictures_finetune"),
        (2_000, {}, "own_pictures_cpu"),
    )
    def test_the_preset_suits_pictures_and_devices(self, images, case, preset):
        suggestions = _suggest(images, _SCRATCH, **case)
        self.assertEqual(_values(suggestions), {"preset": preset})
        self.assertRegex(suggestions["preset"]["reason"], r"pretrained network")

    @parameterized.parameters(False, True)
    def test_grey_pictures_need_a_network_from_random_weights(self, gpu):
        suggestions = _suggest(5_000, _HEADS, channels=1, gpu=gpu)
        self.assertEqual(_values(suggestions), {"preset": "own_pictures_from_scratch_cpu"})

    def test_a_preset_that_suits_the_pictures_is_left_as_it_is(self):
        for name, images, gpu, channels in (
            ("own_pictures_cpu", 600, False, 3),
            ("own_pictures_finetune", 3_000, True, 3),
            ("own_pictures_from_scratch_cpu", 600, False, 1),
        ):
            suggestions = _suggest(images, read_preset(name, Hyperparameters), gpu=gpu, channels=channels)
            self.assertEqual(_values(suggestions), {"recipe": "grey"} if channels == 1 else {}, name)

    @parameterized.parameters(
        ({"large_size": 224, "shrink": 160}, {}, {"shrink": "280"}),
        ({"large_size": 224, "shrink": 280}, {}, {}),
        ({"large_size": 224, "shrink": 0}, {"side": 32}, {}),
        ({"large_size": 128}, {"side": 128}, {}),
        ({"large_size": 128}, {"side": 0}, {}),
        ({"cached_views": 17}, {"images": 20_000}, {"cached_views": "5"}),
        ({"cached_views": 17}, {"images": 19_999}, {}),
        ({"cached_views": 5}, {"images": 20_000}, {}),
    )
    def test_what_does_not_suit_the_pictures_is_changed(self, changes, case, expected):
        self.assertEqual(_values(_suggest(**{"images": 600} | case, settings=_HEADS | changes)), expected)

    @parameterized.parameters((224, 100, "96"), (128, 90, "64"), (64, 20, "32"), (64, 64, None))
    def test_views_for_random_weights_are_no_larger_than_the_pictures(self, size, side, expected):
        values = _values(_suggest(600, _SCRATCH | {"large_size": size}, side=side, channels=1))
        self.assertEqual(values.get("large_size"), expected)

    @parameterized.parameters(
        (600, {}),
        (512, {}),
        (200, {"batch_size": "50", "queue_size": "500", "labelled_batch_size": "25"}),
        (40, {"batch_size": "16", "queue_size": "160", "labelled_batch_size": "8", "negatives": "15"}),
    )
    def test_a_batch_is_at_most_a_quarter_of_the_images(self, images, expected):
        self.assertEqual(_values(_suggest(images, _HEADS, labelled=30)), expected)

    @parameterized.parameters((64, {"labelled_batch_size": "0"}), (0, {}), (128, {}))
    def test_where_every_image_has_a_label_so_does_every_image_of_a_batch(self, rows, expected):
        suggestions = _suggest(600, _HEADS | {"labelled_batch_size": rows}, labelled=600)
        self.assertEqual(_values(suggestions), expected)

    def test_every_suggestion_has_a_reason(self):
        suggestions = _suggest(40, _HEADS | {"large_size": 224, "shrink": 160})
        self.assertIn("views of 224 pixels are enlarged from pictures of 160", suggestions["shrink"]["reason"])
        self.assertTrue(all(suggestion["reason"] for suggestion in suggestions.values()))

    def test_pictures_in_evaluation_may_be_larger_than_views(self):
        suggestions = _suggest(600, _SCRATCH | {"large_size": 48, "inference_size": 96, "shrink": 64}, channels=1)
        self.assertEqual(suggestions["shrink"]["value"], "120")
        self.assertIn("in evaluation of 96 pixels are enlarged from pictures of 64", suggestions["shrink"]["reason"])


class VerdictTest(parameterized.TestCase):
    @parameterized.parameters(
        ([], None, "ready; how long the run takes was not measured"),
        ([False], (8_000, 9_900.0, 0.0), "ready: 8,000 steps, about 2 h 45 min on this machine"),
        ([], (1_000, 42.4, 95.0), "ready: 1,000 steps, about 42 s on this machine, after 2 min before the first step"),
        ([True], (1, 1.0, 0.0), "not ready: 1 finding stops the run"),
        ([True, False, True], None, "not ready: 2 findings stop the run"),
    )
    def test_it_is_one_sentence(self, stops, time, expected):
        report = {"problems": [{"stops": stop} for stop in stops]}
        if time:
            report["time"] = dict(zip(("steps", "seconds", "seconds_before_first_step"), time, strict=True))
        self.assertEqual(advice.verdict(report), expected)

    @parameterized.parameters((0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5_369, "89 min"), (5_400, "1 h 30 min"))
    def test_durations_are_rounded_as_people_say_them(self, seconds, expected):
        self.assertEqual(advice.in_words(seconds), expected)


if __name__ == "__main__":
    absltest.main()
