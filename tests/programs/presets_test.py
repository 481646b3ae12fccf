"""Tests of semppl.programs.presets on command lines."""

import dataclasses
import os
import pathlib
import tempfile

from absl import flags
from absl.testing import absltest, parameterized

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import command_line, presets
from semppl.programs.setting_flags import define_flags, values_of_flags

_DIGITS = presets.read_preset("digits", Hyperparameters)


@dataclasses.dataclass(frozen=True)
class _Named:
    preset: str = ""


def _flags():
    values = flags.FlagValues()
    define_flags(Hyperparameters, flag_values=values)
    define_flags(_Named, flag_values=values)
    return values


class ExpandTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)  # in which there is no configs/

    def _values(self, *arguments):
        values = _flags()
        rest = values(presets.expand(["program", *arguments], values))
        self.assertEqual(rest, ["program"])
        return values_of_flags(Hyperparameters, values)

    @parameterized.parameters((("--preset=digits",),), (("--preset", "digits"),), (("-preset=digits",),))
    def test_a_preset_is_found_by_name_from_any_folder(self, arguments):
        values = self._values(*arguments)
        self.assertEqual({name: values[name] for name in _DIGITS}, _DIGITS)

    def test_later_flags_override_the_preset_and_earlier_ones_do_not(self):
        self.assertNotEqual(_DIGITS["steps"], 7)
        self.assertEqual(self._values("--preset=digits", "--steps=7")["steps"], 7)
        self.assertEqual(self._values("--steps=7", "--preset=digits")["steps"], _DIGITS["steps"])

    def test_a_file_of_flags_may_name_a_preset_and_a_preset_may_be_a_file(self):
        pathlib.Path("own.flags").write_text("--preset=digits\n--steps=7\n--width=0.5\n", encoding="utf-8")
        for argument in ("--flagfile=own.flags", "--preset=own.flags"):
            values = self._values(argument, "--width=2")
            self.assertEqual((values["steps"], values["width"]), (7, 2.0))
            self.assertEqual(values["batch_size"], _DIGITS["batch_size"])

    def test_what_follows_two_dashes_is_left_alone(self):
        argv = ["program", "--", "--preset=digits"]
        self.assertEqual(presets.expand(argv, _flags()), argv)

    def test_an_unknown_preset_names_those_that_exist(self):
        with self.assertRaises(ValueError) as caught:
            self._values("--preset=own_pictures_cpus")
        message = str(caught.exception)
        self.assertStartsWith(message, "--preset must be one of cifar10_1_percent_cpu, cifar10_resnet18_gpu, digits, ")
        self.assertEndsWith(message, ". Received: own_pictures_cpus; did you mean own_pictures_cpu?")

    def test_the_presets_are_the_files_of_the_package(self):
        files = [name.removesuffix(".flags") for name in os.listdir(presets._FOLDER) if name.endswith(".flags")]
        self.assertEqual(presets.preset_names(), sorted(files))


class UnreadableTest(absltest.TestCase):
    def test_a_file_that_is_not_there_says_where_presets_are_found(self):
        values = _flags()
        with self.assertRaises(flags.CantOpenFlagFileError) as caught:
            presets.expand(["program", "--flagfile=configs/none.flags"], values)
        with absltest.mock.patch.object(flags, "FLAGS", values):
            message = command_line._explain(caught.exception)
        self.assertStartsWith(
            message,
            "--flagfile must be a file that can be read; from any folder, "
            "--preset must be one of cifar10_1_percent_cpu, cifar10_resnet18_gpu, digits",
        )
        self.assertEndsWith(message, ", own_pictures_from_scratch_cpu. Received: configs/none.flags")


if __name__ == "__main__":
    absltest.main()
