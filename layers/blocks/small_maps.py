"""Convolutions of small bfloat16 maps with a faster gradient of the kernel on CPUs."""

import tensorflow as tf

_LARGEST = 4
"""Largest height and width of a map for which the other gradient is faster, see benchmarks/RESULTS.md."""


@tf.keras.saving.register_keras_serializable(package="semppl")
class Convolution(tf.keras.layers.Conv2D):
    """A Keras convolution that computes the kernel's gradient of small bfloat16 maps faster on CPUs.

    A layer that is not trainable is a plain convolution, so that exported models contain no custom
    gradient.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolves `[B, H, W, C]`."""
        if self.trainable and self._is_small(inputs) and _only_cpu():
            outputs: tf.Tensor = convolve_small_maps(inputs, tf.convert_to_tensor(kernel))
            return outputs
        return super().convolution_op(inputs, kernel)

    def _is_small(self, inputs: tf.Tensor) -> bool:
        plain = self.padding == "same" and self.strides == (1, 1) and self.dilation_rate == (1, 1) and self.groups == 1
        odd = all(size % 2 for size in self.kernel_size)
        low = all(side is not None and side <= _LARGEST for side in inputs.shape[1:3])
        return inputs.dtype == tf.bfloat16 and self.data_format == "channels_last" and plain and odd and low


def _only_cpu() -> bool:
    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}


@tf.custom_gradient
def convolve_small_maps(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves as `tf.nn.conv2d(inputs, kernel, 1, "SAME")` does, with a custom gradient of the kernel.

    That gradient, `sum over b, y, x of inputs[b, y + i, x + j, c] · upstream[b, y, x, d]`, is
    itself a convolution: of images with `b` as channels and `c` as the batch axis, with the
    upstream gradient as a kernel as large as the map.

    Args:
        inputs: `[B, H, W, C]` maps.
        kernel: `[h, w, C, D]` kernel with odd h and w.
    """
    high, wide = kernel.shape[0] // 2, kernel.shape[1] // 2

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for_inputs = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
        )
        by_channel = tf.transpose(inputs, [3, 1, 2, 0])  # [C,H,W,B]
        as_kernel = tf.transpose(upstream, [1, 2, 0, 3])  # [H,W,B,D]
        border = [[0, 0], [high, high], [wide, wide], [0, 0]]
        for_kernel = tf.nn.conv2d(by_channel, as_kernel, 1, border)  # [C,h,w,D]
        return for_inputs, tf.transpose(for_kernel, [1, 2, 0, 3])

    return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient
