"""Layers of a convolutional network on one image in plain loops, written from their formulas."""

import itertools

import numpy as np


def convolution(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Convolves `[H, W, C]` with `[k, k, C, D]` and "same" padding: the odd pixel of padding comes last."""
    size = kernel.shape[0]
    padding = [max((-(-side // stride) - 1) * stride + size - side, 0) // 2 for side in image.shape[:2]]
    outputs = np.zeros((-(-image.shape[0] // stride), -(-image.shape[1] // stride), kernel.shape[-1]))
    for row, column, out in np.ndindex(*outputs.shape):
        for i, j, channel in itertools.product(range(size), range(size), range(kernel.shape[2])):
            y, x = row * stride - padding[0] + i, column * stride - padding[1] + j
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                outputs[row, column, out] += image[y, x, channel] * kernel[i, j, channel, out]
    return outputs


def batch_norm(
    inputs: np.ndarray, gain: np.ndarray, offset: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """Normalises `[..., C]` by given statistics, with ε = 1e-5."""
    outputs = np.empty(inputs.shape)
    for index in np.ndindex(*inputs.shape):
        channel = index[-1]
        scaled = (inputs[index] - mean[channel]) / np.sqrt(variance[channel] + 1e-5)
        outputs[index] = scaled * gain[channel] + offset[channel]
    return outputs


def average_pool(image: np.ndarray, stride: int) -> np.ndarray:
    """Averages those pixels of every 2×2 window of `[H, W, C]` that lie within the image."""
    height, width, channels = image.shape
    outputs = np.zeros((-(-height // stride), -(-width // stride), channels))
    for row, column, channel in np.ndindex(*outputs.shape):
        window = [
            image[y, x, channel]
            for y in range(row * stride, min(row * stride + 2, height))
            for x in range(column * stride, min(column * stride + 2, width))
        ]
        outputs[row, column, channel] = sum(window) / len(window)
    return outputs


def selective_kernel(image: np.ndarray, hidden: np.ndarray, norm: list[np.ndarray], scores: np.ndarray) -> np.ndarray:
    """Mixes the two streams of `[H, W, 2C]` in inference; `norm` holds gain, offset, mean and variance."""
    height, width, channels = image.shape[0], image.shape[1], image.shape[2] // 2
    means = np.zeros(channels)
    for row, column, channel in np.ndindex(height, width, channels):
        means[channel] += (image[row, column, channel] + image[row, column, channels + channel]) / (height * width)
    units = np.maximum(batch_norm(means @ hidden, *norm), 0)
    logits = units @ scores
    outputs = np.empty((height, width, channels))
    for row, column, channel in np.ndindex(height, width, channels):
        first, second = np.exp(logits[channel]), np.exp(logits[channels + channel])
        streams = image[row, column, channel], image[row, column, channels + channel]
        outputs[row, column, channel] = (first * streams[0] + second * streams[1]) / (first + second)
    return outputs
