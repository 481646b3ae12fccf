"""Tests of how semppl.export.serving.grpc_service unpacks tensors that are not what they say."""

import unittest

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from semppl.export.serving.json_tensors import BadRequest
from semppl.programs.extras import has_extra
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)

if has_extra("serving"):
    from semppl.export.serving import grpc_service


def _tensor(sides, dtype=tf.float32.as_datatype_enum):
    """A tensor of one number, said to be of another shape or type."""
    tensor = tf.make_tensor_proto(np.ones([1], np.float32))
    tensor.dtype = dtype
    tensor.tensor_shape.Clear()
    for side in sides:
        tensor.tensor_shape.dim.add(size=side)
    return tensor


@unittest.skipUnless(has_extra("serving"), 'the extra "serving" is not installed')
class OddTensorsTest(parameterized.TestCase):
    @parameterized.parameters(
        ([2**31],), ([2**20, 2**20],), ([2**62, 4],), ([-1],), ([-1, -(2**31)],), ([1], 0), ([1], 20), ([1], 99)
    )
    def test_what_is_impossible_or_far_too_large_is_refused(self, sides, dtype=1):
        with self.assertRaisesRegex(BadRequest, "^x cannot be read: "):
            grpc_service._array("x", _tensor(sides, dtype), 1024)

    def test_what_fits_is_unpacked(self):
        array = grpc_service._array("x", tf.make_tensor_proto(np.arange(6.0).reshape(2, 3)), 48)
        np.testing.assert_array_equal(array, np.arange(6.0).reshape(2, 3))


if __name__ == "__main__":
    unittest.main()
