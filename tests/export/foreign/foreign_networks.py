"""Checkpoints of other projects with made-up weights, written from those projects' own naming."""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def official_values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draws the array of a full Haiku name; see tests/goldens/README.md."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if "var_ema" in name:
        values = generator.uniform(0.5, 1.5, shape)
    elif "mean_ema" in name:
        values = generator.standard_normal(shape) * 0.1
    elif name.endswith("/w"):
        values = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    elif name.endswith("/scale"):
        values = generator.uniform(0.1, 0.5, shape)
    else:
        values = generator.standard_normal(shape) * 0.1
    return values.astype(np.float32)


def official_shapes(
    blocks: tuple[int, ...] = (2, 2, 2, 2),
    *,
    bottleneck: bool = False,
    version: int = 1,
    channels: int = 64,
    stem_size: int = 7,
    module: str = "res_net18",
) -> Shapes:
    """Lists the parameters of an official ResNet, batch norms as a scale only: see `official_norm_names`."""
    shapes: Shapes = {f"{module}/~/initial_conv/w": (stem_size, stem_size, 3, channels)}
    if version == 1:
        shapes[f"{module}/~/initial_batchnorm/scale"] = (1, 1, 1, channels)
    incoming = channels
    for group, count in enumerate(blocks):
        inner = channels * 2**group
        outgoing = 4 * inner if bottleneck else inner
        kernels = [(1, incoming, inner), (3, inner, inner), (1, inner, outgoing)] if bottleneck else []
        for block in range(count):
            place = f"{module}/~/block_group_{group}/~/block_{block}/~"
            if bottleneck:
                kernels = [(1, incoming, inner), (3, inner, inner), (1, inner, outgoing)]
            else:
                kernels = [(3, incoming, inner), (3, inner, inner)]
            for index, (size, before, after) in enumerate(kernels):
                shapes[f"{place}/conv_{index}/w"] = (size, size, before, after)
                shapes[f"{place}/batchnorm_{index}/scale"] = (1, 1, 1, after if version == 1 else before)
            if block == 0:
                shapes[f"{place}/shortcut_conv/w"] = (1, 1, incoming, outgoing)
                if version == 1:
                    shapes[f"{place}/shortcut_batchnorm/scale"] = (1, 1, 1, outgoing)
            incoming = outgoing
    if version == 2:
        shapes[f"{module}/~/final_batchnorm/scale"] = (1, 1, 1, incoming)
    return shapes


def head_shapes(head: str, widths: tuple[int, int, int]) -> Shapes:
    """Lists the parameters of a projector or predictor, its batch norm as a scale only."""
    inputs, hidden, outputs = widths
    return {
        f"{head}/linear/w": (inputs, hidden),
        f"{head}/linear/b": (hidden,),
        f"{head}/batch_norm/scale": (1, hidden),
        f"{head}/linear_1/w": (hidden, outputs),
    }


def official_tree(shapes: Shapes, step: int = 7) -> dict[str, Any]:
    """Makes an official checkpoint: parameters and moving averages, in two levels."""
    params: dict[str, Arrays] = {}
    state: dict[str, Arrays] = {}
    for name, shape in shapes.items():
        module, _, array = name.rpartition("/")
        for kind in (array, "offset") if array == "scale" else (array,):
            params.setdefault(module, {})[kind] = official_values(f"{module}/{kind}", shape)
        for average in ("mean_ema", "var_ema") if array == "scale" else ():
            path = f"{module}/~/{average}"
            arrays = {kind: official_values(f"{path}/{kind}", shape) for kind in ("average", "hidden")}
            state[path] = arrays | {"counter": np.array(5, np.int32)}
    experiment = {"online_params": params, "online_state": state, "target_params": {}, "target_state": {}}
    return {"experiment_state": experiment, "step": step, "rng": np.zeros(2, np.uint32)}


def simclr_layers(
    blocks: tuple[int, ...], *, bottleneck: bool, selective: bool, channels: int, stem_size: int = 7
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields SimCLR's layers in the order in which it makes them: convolutions with their kernels' shapes, and norms."""

    def convolution(size: int, before: int, after: int, *, norm: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "conv2d", (size, size, before, after)
        if norm:
            yield "batch_normalization", (after,)

    if selective:
        for before, after in ((3, channels // 2), (channels // 2, channels // 2), (channels // 2, channels)):
            yield from convolution(3, before, after)
    else:
        yield from convolution(stem_size, 3, channels)
    incoming = channels
    for group, count in enumerate(blocks):
        inner = channels * 2**group
        outgoing = 4 * inner if bottleneck else inner
        for block in range(count):
            if block == 0:
                yield from convolution(1, incoming, outgoing)
            if not bottleneck:
                yield from convolution(3, incoming, inner)
                yield from convolution(3, inner, inner)
            else:
                yield from convolution(1, incoming, inner)
                yield from convolution(3, inner, 2 * inner if selective else inner)
                if selective:
                    middle = max(inner // 16, 32)
                    yield from convolution(1, inner, middle)
                    yield from convolution(1, middle, 2 * inner, norm=False)
                yield from convolution(1, inner, outgoing)
            incoming = outgoing


def simclr_arrays(**architecture: Any) -> Arrays:
    """Draws SimCLR's encoder under the names in its checkpoints."""
    generator = np.random.default_rng(0)
    counts = {"conv2d": 0, "batch_normalization": 0}
    arrays: Arrays = {}
    for kind, shape in simclr_layers(**architecture):
        layer = f"base_model/{kind}" + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        if kind == "conv2d":
            arrays[f"{layer}/kernel"] = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
            continue
        arrays[f"{layer}/gamma"] = generator.uniform(0.3, 0.7, shape)
        arrays[f"{layer}/moving_variance"] = generator.uniform(0.5, 1.5, shape)
        for name in ("beta", "moving_mean"):
            arrays[f"{layer}/{name}"] = generator.standard_normal(shape) * 0.1
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def simclr_features(
    arrays: Arrays, images: np.ndarray, blocks: tuple[int, ...], *, bottleneck: bool, selective: bool
) -> np.ndarray:
    """Computes SimCLR's features with its variables, taken one after the other in the order of their numbers."""
    counts = {"conv2d": -1, "batch_normalization": -1}

    def following(kind: str) -> str:
        counts[kind] += 1
        return f"base_model/{kind}" + (f"_{counts[kind]}" if counts[kind] else "")

    def convolve(x: tf.Tensor, strides: int = 1) -> tf.Tensor:
        kernel = arrays[f"{following('conv2d')}/kernel"]
        if strides == 1:
            return tf.nn.conv2d(x, kernel, 1, "SAME")
        before = (len(kernel) - 1) // 2
        border = [before, len(kernel) - 1 - before]
        return tf.nn.conv2d(tf.pad(x, [[0, 0], border, border, [0, 0]]), kernel, strides, "VALID")

    def norm(x: tf.Tensor) -> tf.Tensor:
        layer = following("batch_normalization")
        gamma, beta, mean, variance = (
            arrays[f"{layer}/{name}"] for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    def select(x: tf.Tensor) -> tf.Tensor:
        streams = tf.stack(tf.split(x, 2, -1))
        hidden = tf.nn.relu(norm(convolve(tf.reduce_mean(tf.reduce_sum(streams, 0), [1, 2], keepdims=True))))
        weights = tf.nn.softmax(tf.stack(tf.split(convolve(hidden), 2, -1)), 0)
        return tf.reduce_sum(streams * weights, 0)

    x = tf.nn.relu(norm(convolve(tf.constant(images), 2)))
    if selective:
        x = tf.nn.relu(norm(convolve(x)))
        x = tf.nn.relu(norm(convolve(x)))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for group, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if group and not block else 1
            shortcut = x
            if block == 0:
                if selective:
                    pooled = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]) if strides > 1 else x
                    pooled = tf.nn.avg_pool2d(pooled, 2, strides, "VALID" if strides > 1 else "SAME")
                    shortcut = norm(convolve(pooled))
                else:
                    shortcut = norm(convolve(x, strides))
            if bottleneck:
                x = tf.nn.relu(norm(convolve(x)))
            x = tf.nn.relu(norm(convolve(x, strides)))
            if selective:
                x = select(x)
            x = tf.nn.relu(norm(convolve(x)) + shortcut)
    return tf.reduce_mean(x, [1, 2]).numpy()
