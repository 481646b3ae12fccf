"""Tests of semppl.keras_two."""

import os
import pathlib
import subprocess
import sys
import types
from unittest import mock

from absl.testing import absltest, parameterized

import semppl
from semppl import keras_two


class KerasTwoTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(mock.patch.dict(os.environ))
        os.environ.pop("TF_USE_LEGACY_KERAS", None)

    def use(self, version, *, tf_keras=True, used_as=None):
        """Calls `use` where Keras has a version, tf-keras is installed or not, and `tf.keras` was used as a module or not."""
        keras = types.ModuleType("")
        vars(keras)["__name__"] = used_as
        if used_as is None:
            del vars(keras)["__name__"]
        tensorflow = types.ModuleType("tensorflow")
        tensorflow.keras = keras
        with (
            mock.patch.object(keras_two.importlib.metadata, "version", return_value=version),
            mock.patch.object(keras_two.importlib.util, "find_spec", return_value=tf_keras or None),
            mock.patch.dict(sys.modules, {"tensorflow": tensorflow}),
        ):
            keras_two.use()

    def test_keras_2_stays_as_it_is(self):
        self.use("2.15.0", tf_keras=False, used_as="keras.api._v2.keras")
        self.assertNotIn("TF_USE_LEGACY_KERAS", os.environ)

    @parameterized.parameters(None, "tf_keras.api._v2.keras")
    def test_beside_keras_3_tf_keras_is_asked_for(self, used_as):
        self.use("3.15.1", used_as=used_as)
        self.assertEqual(os.environ["TF_USE_LEGACY_KERAS"], "1")

    def test_keras_3_in_use_is_an_error_that_names_the_remedy(self):
        with self.assertRaisesRegex(
            ImportError, "used as Keras 3.15.1 before semppl was imported.* TF_USE_LEGACY_KERAS=1$"
        ):
            self.use("3.15.1", used_as="keras._tf_keras.keras")

    def test_a_missing_tf_keras_is_an_error_that_names_the_remedy(self):
        with self.assertRaisesRegex(ImportError, r"pip install 'tf-keras>=2.21,<2.22'. Received: Keras 3.15.1 alone$"):
            self.use("3.15.1", tf_keras=False)

    @parameterized.parameters("import semppl; import tensorflow as tf", "import tensorflow as tf; import semppl")
    def test_in_a_process_of_its_own_tf_keras_is_keras_2(self, imports):
        environment = os.environ | {"PYTHONPATH": str(pathlib.Path(semppl.__file__).parents[1])}
        program = f"{imports}; print(tf.keras.optimizers.Optimizer.__module__.split('.')[0], tf.keras.Model.__module__)"
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        self.assertRegex(
            done.stdout, r"^(keras|tf_keras) (keras|tf_keras)\.src\.engine\.training\n$"
        )  # `engine` is Keras 2's


if __name__ == "__main__":
    absltest.main()
