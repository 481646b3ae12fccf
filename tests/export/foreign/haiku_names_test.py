"""Tests of semppl.export.foreign.haiku_names.

That the names are the official ones is proved in resnet_test and heads_test: the recorded parameters are drawn by name.
"""

import tensorflow as tf
from absl.testing import parameterized

from semppl.export.foreign import haiku_names
from semppl.layers import heads
from semppl.layers.encoders import resnet


def _projector(name="projector"):
    projector = heads.MLP(4, 3, name=name)
    projector(tf.zeros((1, 2)))
    return projector


class HaikuNamesTest(tf.test.TestCase, parameterized.TestCase):
    def test_projector_has_the_official_names(self):
        projector = _projector()
        expected = {
            ("predictor/linear", "w"): projector.hidden.kernel,
            ("predictor/linear", "b"): projector.hidden.bias,
            ("predictor/batch_norm", "scale"): projector.hidden_norm.gamma,
            ("predictor/batch_norm", "offset"): projector.hidden_norm.beta,
            ("predictor/batch_norm/~/mean_ema", "average"): projector.hidden_norm.moving_mean,
            ("predictor/batch_norm/~/var_ema", "average"): projector.hidden_norm.moving_variance,
            ("predictor/linear_1", "w"): projector.outputs.kernel,
        }
        names = haiku_names.haiku_names(projector, "predictor")
        self.assertEqual(
            {name: id(variable) for name, variable in names.items()},
            {name: id(variable) for name, variable in expected.items()},
        )

    # The official networks have 159 and 151 parameters, and two averages for each of 53 and 49 batch norms.
    @parameterized.parameters((1, "block_0/~/shortcut_batchnorm", 159 + 106), (2, "block_0/~/batchnorm_2", 151 + 98))
    def test_encoder_has_the_official_names(self, version, norm, count):
        with tf.Graph().as_default():
            net = resnet.ResNet(50, version, width=0.125)
            net(tf.compat.v1.placeholder(tf.float32, (None, 32, 32, 3)))
            names = haiku_names.haiku_names(net, "res_net50")
        self.assertLen(names, count)
        self.assertContainsSubset(
            {
                ("res_net50/~/initial_conv", "w"),
                ("res_net50/~/block_group_3/~/block_2/~/conv_2", "w"),
                ("res_net50/~/block_group_0/~/block_0/~/shortcut_conv", "w"),
                (f"res_net50/~/block_group_2/~/{norm}", "scale"),
                (f"res_net50/~/block_group_2/~/{norm}/~/var_ema", "average"),
                (f"res_net50/~/{'final' if version == 2 else 'initial'}_batchnorm", "offset"),
            },
            names,
        )

    def test_names_do_not_depend_on_what_is_around_the_layer(self):
        projector = heads.MLP(4, 3, name="projector")
        inputs = tf.keras.Input((2,))
        with tf.name_scope("online/projector"):
            projector(inputs)
        self.assertIn(("projector/linear", "b"), haiku_names.haiku_names(projector, "projector"))


if __name__ == "__main__":
    tf.test.main()
