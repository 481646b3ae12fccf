"""Tests of configs/*.flags, and of the flags they are made of."""

import dataclasses
import pathlib

from absl import flags
from absl.testing import absltest, flagsaver, parameterized

from semppl import configs
from semppl.configs.hyperparameters import Hyperparameters
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)
from semppl.trainers import pretrain

FOLDER = pathlib.Path(configs.__file__).parent
PRESETS = sorted(path.name for path in FOLDER.glob("*.flags"))


def _parse(*arguments):
    """Returns the hyper-parameters of a command line, and leaves the flags as they were."""
    with flagsaver.flagsaver():
        flags.FLAGS(["pretrain", "--workdir=nowhere", *arguments])
        return pretrain.hyperparameters_from_flags()


class PresetsTest(parameterized.TestCase):
    def test_there_are_presets(self):
        self.assertIn("digits.flags", PRESETS)

    @parameterized.parameters(PRESETS)
    def test_a_preset_is_a_run_that_can_be(self, name):
        settings = _parse(f"--flagfile={FOLDER / name}")
        pretrain.check_names(settings)
        resolved = settings.resolved(num_images=50_000, num_labelled=500, replicas=1)
        self.assertGreater(resolved.steps, resolved.warmup_steps)

    @parameterized.parameters(PRESETS)
    def test_a_preset_begins_by_saying_what_it_is(self, name):
        self.assertRegex((FOLDER / name).read_text(encoding="utf-8"), r"^# \S.{20,}")

    @parameterized.parameters(PRESETS)
    def test_a_preset_sets_nothing_twice(self, name):
        lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
        names = [line.partition("=")[0] for line in lines if line.startswith("--")]
        self.assertCountEqual(names, set(names))

    def test_a_flag_after_the_preset_wins(self):
        settings = _parse(f"--flagfile={FOLDER / 'digits.flags'}", "--batch_size=64", "--pixel_mean=0.1")
        self.assertEqual((settings.batch_size, settings.pixel_mean, settings.encoder), (64, (0.1,), "convnet"))


class FlagsTest(parameterized.TestCase):
    def test_every_hyperparameter_is_a_flag_with_its_default_and_its_meaning(self):
        for field in dataclasses.fields(Hyperparameters):
            flag = flags.FLAGS[field.name]
            self.assertIn(field.metadata["help"], flag.help)
            self.assertStartsWith(flag.help, f"[{field.metadata['group']}] ")
            default = tuple(map(float, flag.default)) if isinstance(field.default, tuple) else flag.default
            self.assertEqual(default, field.default, field.name)
            self.assertIs(type(default), type(field.default), field.name)

    def test_without_flags_there_are_the_defaults(self):
        self.assertEqual(_parse("--labels_per_class=3"), Hyperparameters(labels_per_class=3))

    @parameterized.parameters("0.1,b,0.3", "a")
    def test_a_list_of_no_numbers_names_the_flag(self, value):
        with self.assertRaises(ValueError) as caught:
            _parse("--labels_per_class=1", f"--pixel_mean={value}")
        self.assertEqual(str(caught.exception), f"--pixel_mean must be numbers with commas between. Received: {value}")

    @parameterized.parameters("method", "encoder", "recipe", "optimiser", "norm", "precision")
    def test_an_unknown_name_names_the_flag_and_what_there_is(self, flag):
        settings = Hyperparameters(labels_per_class=1, **{flag: "nonesuch"})
        with self.assertRaisesRegex(ValueError, rf"^--{flag} must be (one of )?\w+, \w.*\. Received: nonesuch$"):
            pretrain.check_names(settings)

    def test_checkpointing_needs_blocks(self):
        message = "--gradient_checkpointing must be false with an encoder that is no ResNet of this project. Received: convnet"
        settings = Hyperparameters(labels_per_class=1, encoder="convnet", gradient_checkpointing=True)
        with self.assertRaisesRegex(ValueError, f"^{message}$"):
            pretrain.check_names(settings)
        pretrain.check_names(dataclasses.replace(settings, encoder="sk_resnet50"))


if __name__ == "__main__":
    absltest.main()
