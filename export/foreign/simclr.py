"""Reader of SimCLR and SimCLRv2 checkpoints: TensorFlow variables, numbered in order of creation."""

import pathlib
import re

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from semppl.export.foreign.checkpoint import ForeignCheckpoint
from semppl.layers.encoders.resnet import BLOCKS_PER_GROUP, SMALLEST_BOTTLENECK_DEPTH, ResNet
from semppl.layers.networks import OnlineNetwork

_LAYER = re.compile(
    r"(?P<scope>.*/)?(?P<kind>conv2d|(?:sync_)?batch_normalization)(?:_(?P<number>\d+))?"
    r"/(?P<array>kernel|gamma|beta|moving_mean|moving_variance)"
)
_ENCODER = "base_model/"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_STEM_CHANNELS = 64


def find(path: pathlib.Path) -> str:
    """Returns the prefix of the TensorFlow checkpoint at a path (prefix, index file or folder); empty if there is none."""
    if path.is_dir():
        inside = path / "variables" / "variables"  # of a SavedModel
        return str(inside) if inside.with_suffix(".index").is_file() else tf.train.latest_checkpoint(str(path)) or ""
    prefix = str(path).removesuffix(".index")
    return prefix if pathlib.Path(f"{prefix}.index").is_file() else ""


def read(path: str | pathlib.Path) -> ForeignCheckpoint:
    """Reads a checkpoint, and recognises its network by the number and shapes of convolutions.

    SimCLR's input is in 0..1, not centred. SimCLR's head has other layers than this project's, and is not read.

    Args:
        path: Prefix of a checkpoint, or folder with a checkpoint or SavedModel.

    Raises:
        ValueError: if the checkpoint cannot be read, or contains no supported ResNet.

    Reference: Chen et al. 2020, arXiv 2002.05709 and 2006.10029; the names of google-research/simclr.
    """
    try:
        arrays, step = _read_arrays(find(pathlib.Path(path)))
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--source must be a whole checkpoint. Received: {path} ({reason}); fetch it again") from error
    layers = {kind: _numbered(arrays, kind) for kind in ("conv2d", "batch_normalization")}

    def variables(network: OnlineNetwork) -> dict[str, tf.Variable]:
        convolutions, norms = creation_order(network.encoder)
        named = dict(
            zip((f"{name}/kernel" for name in layers["conv2d"]), (c.kernel for c in convolutions), strict=False)
        )
        for name, norm in zip(layers["batch_normalization"], norms, strict=False):
            named |= {
                f"{name}/{variable.name.split('/')[-1].removesuffix(':0')}": variable for variable in norm.variables
            }
        return named

    kernels = [arrays[f"{name}/kernel"].shape for name in layers["conv2d"]]
    return ForeignCheckpoint(
        origin="SimCLR",
        settings=_settings(kernels, path) | {"pixel_mean": (0.0, 0.0, 0.0), "pixel_stddev": (1.0, 1.0, 1.0)},
        arrays=arrays,
        variables=variables,
        step=step,
    )


def creation_order(encoder: ResNet) -> tuple[list[tf.keras.layers.Layer], list[tf.keras.layers.Layer]]:
    """Lists the convolutions and norms of a built ResNet in SimCLR's order of creation: in a block, the shortcut first."""
    convolutions, norms = list(encoder.stem_convolutions), list(encoder.stem_norms)
    for block in (block for group in encoder.block_groups for block in group):
        if block.project:
            convolutions.append(block.shortcut_conv)
            norms.append(block.shortcut_norm)
        for index, (conv, norm) in enumerate(zip(block.convolutions, block.norms, strict=True)):
            convolutions.append(conv)
            norms.append(norm)
            if block.selective and index == 1:
                convolutions += [block.mixture.hidden, block.mixture.scores]
                norms.append(block.mixture.hidden_norm)
    return convolutions, norms


def _read_arrays(prefix: str) -> tuple[dict[str, np.ndarray], int]:
    """Returns the encoder's arrays by the names of their variables, and the step."""
    reader = tf.train.load_checkpoint(prefix)
    keys = {name: name for name in reader.get_variable_to_shape_map()}
    if _GRAPH in keys:  # TensorFlow 2 stores variables by object path; the graph maps these to names
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH))
        keys = {part.full_name: part.checkpoint_key for node in graph.nodes for part in node.attributes}
    names = [name for name in keys if _LAYER.fullmatch(name) and "head" not in name]
    if any(name.startswith(_ENCODER) for name in names):  # there may be ema_model/base_model too
        names = [name for name in names if name.startswith(_ENCODER)]
    step = int(reader.get_tensor(keys["global_step"])) if "global_step" in keys else 0
    return {name: reader.get_tensor(keys[name]) for name in names}, step


def _numbered(arrays: dict[str, np.ndarray], kind: str) -> list[str]:
    """Returns the layers of a kind in the order of their numbers; the first layer has no number."""
    numbers = {}
    for name in arrays:
        match = _LAYER.fullmatch(name)
        if match and match["kind"].endswith(kind):
            numbers[name.rpartition("/")[0]] = int(match["number"] or 0)
    return sorted(numbers, key=numbers.__getitem__)


def _settings(kernels: list[tuple[int, ...]], path: str | pathlib.Path) -> dict[str, object]:
    """Recognises depth, width, stem and selective kernels."""
    for depth, blocks in BLOCKS_PER_GROUP.items():
        bottleneck = depth >= SMALLEST_BOTTLENECK_DEPTH
        for selective in (False, True) if bottleneck else (False,):
            for stem, stem_size in (("", 3 if selective else 1), ("_cifar", 1)):
                per_block = (3 + 2 * selective) if bottleneck else 2
                if len(kernels) != stem_size + per_block * sum(blocks) + len(blocks):
                    continue
                if stem_size == 1 and (kernels[0][0] == 3) != (stem == "_cifar"):
                    continue
                name = f"{'sk_' if selective else ''}resnet{depth}{stem}_simclr"
                return {"encoder": name, "width": kernels[stem_size - 1][-1] / _STEM_CHANNELS}
    raise ValueError(
        f"--source must hold a ResNet of SimCLR: base_model/conv2d… and as many as one has. "
        f"Received: {path}, with {len(kernels)} convolutions"
    )
