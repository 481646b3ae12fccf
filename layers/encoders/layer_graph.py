"""The layers of a functional Keras model, copied for use as part of a layer of this project."""

import collections
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

_FINEST, _COARSEST = 4, 32
"""Strides of the first and of the last stage: the first includes every larger map, the last every smaller one."""

Convert = Callable[[tf.keras.layers.Layer, str], tf.keras.layers.Layer]


class Place(NamedTuple):
    """The place of a layer's variables in files of the model's weights.

    Attributes:
        layer: The copy.
        name: Name of the layer in the model; empty for a name that Keras generated, which differs
            from file to file.
        path: Path in files that number the layers of every class, such as "layers/conv2d_3".
    """

    layer: tf.keras.layers.Layer
    name: str
    path: str


class _Slot(NamedTuple):
    """The place of a tensor among all tensors of a graph."""

    number: int


class _Step(NamedTuple):
    """A call of a layer.

    Attributes:
        layer: Position of the layer.
        arguments: Positional and keyword arguments, with a `_Slot` in the place of every tensor.
        outputs: Structure of slots.
    """

    layer: int
    arguments: Any
    outputs: Any


class LayerGraph:
    """Copies of a functional model's layers, and the order in which they call each other.

    The copies are not built: variables are created by the first call, with names that begin with
    that of the layer around them. Calling a `tf.keras.Model` would create them here, and name them
    after the inner layers alone.

    Args:
        model: Functional model with one input and one output. Only its structure is used, so that
            it may belong to a `tf.Graph` of its own, without memory for its weights.
        convert: Function from a layer of the model, and the name of the copy, to the copy; see
            `copied`. Copies have the names of the originals, except that names which Keras generated
            are numbered from 0.

    Attributes:
        layers: The copies, in the order of `model.layers`, without input layers.
        places: Where the variables of the copies are in files of the model's weights.
        stages: Layers by the resolution of their outputs: up to 1/4 of the image's sides, 1/8, 1/16,
            and 1/32 and less; empty for a network of one resolution, or of tokens instead of maps.
    """

    def __init__(self, model: tf.keras.Model, convert: Convert) -> None:
        originals = [layer for layer in model.layers if not isinstance(layer, tf.keras.layers.InputLayer)]
        self.layers = [convert(layer, name or key) for layer, name, key in _named(originals)]
        self.places = list(_places(originals, self.layers, "layers"))
        positions = {id(layer): position for position, layer in enumerate(originals)}
        slots = {id(model.inputs[0]): 0}
        self._steps = []
        for node in _nodes(model):
            arguments = _with_slots((node.call_args, node.call_kwargs), slots)
            for tensor in tf.nest.flatten(node.outputs):
                slots[id(tensor)] = len(slots)
            self._steps.append(_Step(positions[id(node.layer)], arguments, _with_slots(node.outputs, slots)))
        self._result = slots[id(model.outputs[0])]
        self.stages = [] if _has_tokens(model) else self._by_resolution(_strides(model))

    @tf.autograph.experimental.do_not_convert
    def run(self, images: tf.Tensor) -> tf.Tensor:
        """Maps `[B, H, W, C]` to the output of the model; layers are in the mode, training or inference, of the layer around."""
        values = {_Slot(0): images}
        for step in self._steps:
            args, kwargs = _filled(step.arguments, values)
            outputs = self.layers[step.layer](*args, **kwargs)
            values.update(zip(_flat(step.outputs), tf.nest.flatten(outputs), strict=True))
        return values[_Slot(self._result)]

    def _by_resolution(self, strides: Sequence[float]) -> list[list[tf.keras.layers.Layer]]:
        last = round(math.log2(_COARSEST / _FINEST))
        stages: list[list[tf.keras.layers.Layer]] = [[] for _ in range(last + 1)]
        for layer, stride in zip(self.layers, strides, strict=True):
            stages[min(last, max(0, round(math.log2(stride / _FINEST))))].append(layer)
        return stages if len({stride for stride in strides if stride > 1}) > 1 else []


class GraphEncoder:
    """The part of an encoder that is the same for every third-party network.

    Attributes:
        prepares_pixels: Whether the encoder takes images in 0..1 as they are.
        graph_layers: Copies of the network's layers.
    """

    prepares_pixels = True

    def copy_layers(self, model: tf.keras.Model, convert: Convert) -> None:
        """Copies the layers of a network; the arguments are those of `LayerGraph`."""
        self._graph = LayerGraph(model, convert)
        self.graph_layers = self._graph.layers  # Keras tracks attributes

    @property
    def stages(self) -> list[list[tf.keras.layers.Layer]]:
        """Layers by the resolution of their outputs, see `LayerGraph`."""
        return self._graph.stages

    @property
    def places(self) -> list[Place]:
        """Where the variables are in files of weights, see `LayerGraph`."""
        return self._graph.places


class _Chain(tf.keras.layers.Layer):
    """Layers one after the other; a `Sequential` would name variables after the inner layers alone."""

    def __init__(self, layers: Sequence[tf.keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = list(layers)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs


def copied(layer: tf.keras.layers.Layer, name: str, convert: Convert, **changes: Any) -> tf.keras.layers.Layer:
    """Makes an unbuilt layer with the configuration of another.

    Args:
        layer: Layer to copy.
        name: Name of the copy.
        convert: Function that copies the layers of a `Sequential`.
        **changes: Entries of the configuration to replace.
    """
    if isinstance(layer, tf.keras.Sequential):
        return _Chain([convert(inner, own or key) for inner, own, key in _named(layer.layers)], name=name)
    return type(layer).from_config(layer.get_config() | {"name": name} | changes)


def _named(layers: Sequence[tf.keras.layers.Layer]) -> Iterator[tuple[tf.keras.layers.Layer, str, str]]:
    """Yields each layer with its name, empty if generated, and with its class and number."""
    counts: collections.Counter[str] = collections.Counter()
    for layer in layers:
        kind = _snake_case(type(layer).__name__)
        key = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        yield layer, "" if re.fullmatch(rf"{kind}(_\d+)?", layer.name) else layer.name, key


def _places(
    originals: Sequence[tf.keras.layers.Layer], copies: Sequence[tf.keras.layers.Layer], folder: str
) -> Iterator[Place]:
    for copy, (original, name, key) in zip(copies, _named(originals), strict=True):
        if isinstance(copy, _Chain):
            yield from _places(original.layers, copy.layers, f"{folder}/{key}/layers")
        elif original.weights:
            yield Place(copy, name, f"{folder}/{key}")


def _snake_case(name: str) -> str:
    """Spells the name of a class as Keras does in names of layers and in files of weights."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _nodes(model: tf.keras.Model) -> list[Any]:
    """Lists the calls of a functional model in their order; Keras has no public name for these."""
    by_depth = model._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    return [node for node in nodes if not node.is_input]


def _has_tokens(model: tf.keras.Model) -> bool:
    """Returns whether a part of a network computes `[B, tokens, C]`, as attention does."""
    return any(tensor.shape.rank == 3 for node in _nodes(model) for tensor in tf.nest.flatten(node.outputs))


def _strides(model: tf.keras.Model) -> list[float]:
    """Computes the stride of each layer's output; a layer without a map of its own takes that of its inputs."""
    side = model.inputs[0].shape[1]
    strides = {id(model.inputs[0]): 1.0}
    by_layer: dict[int, float] = {}
    for node in _nodes(model):
        stride = max([strides[id(tensor)] for tensor in node.keras_inputs], default=1.0)
        for tensor in tf.nest.flatten(node.outputs):
            is_map = tensor.shape.rank == 4 and tensor.shape[1] is not None and tensor.shape[1] > 1
            strides[id(tensor)] = stride = side / tensor.shape[1] if is_map else stride
        by_layer.setdefault(id(node.layer), stride)
    return [by_layer[id(layer)] for layer in model.layers if not isinstance(layer, tf.keras.layers.InputLayer)]


def _with_slots(structure: Any, slots: dict[int, int]) -> Any:
    def replaced(value: Any) -> Any:
        return _Slot(slots[id(value)]) if id(value) in slots else value

    return tf.nest.map_structure(replaced, structure)


def _filled(structure: Any, values: dict[_Slot, tf.Tensor]) -> Any:
    if isinstance(structure, _Slot):
        return values[structure]
    if isinstance(structure, dict):
        return {name: _filled(value, values) for name, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(_filled(value, values) for value in structure)
    return structure


def _flat(structure: Any) -> list[_Slot]:
    if isinstance(structure, _Slot):
        return [structure]
    return [slot for part in structure for slot in _flat(part)]
