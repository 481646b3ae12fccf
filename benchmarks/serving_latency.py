"""From picture files to embeddings: the exported model beside ONNX Runtime and OpenVINO on the same weights.

    python -m semppl.benchmarks.serving_latency --workdir=unused

Needs the extra `runtimes`. ResNet-18 on 32×32 and ResNet-50 on 224×224, batches of 1 and 32, JPEG files. Ours is the signature
`embed_bytes` of a SavedModel; for the others Pillow decodes, in as many threads as there are processors, and the runtime runs the
network; all in float32, and else at their default settings. A second table is of the networks alone, on prepared pictures. All are
timed in turns, medians, each after a rest, in which the other runtimes' threads fall asleep, and a call that is not counted; before
that they must agree to 1e-3.
"""

import concurrent.futures
import io
import multiprocessing
import os
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import app, flags
from PIL import Image

from semppl.benchmarks.step_share import ROUNDS, medians
from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.embedder import Embedder
from semppl.export.servable import Servable
from semppl.layers.networks import OnlineNetwork

_MODELS = flags.DEFINE_list("encoders", ["resnet18_cifar:32", "resnet50:224"], "ENCODER:PIXELS each.")
_BATCHES = flags.DEFINE_list("request_sizes", ["1", "32"], "Pictures of a request.")

_OURS, _OTHERS = "SavedModel", ("ONNX Runtime", "OpenVINO")
_TOLERANCE = 1e-3
_REST = 0.05  # seconds; threads of ONNX Runtime and OpenVINO keep a processor busy for a while after their work is done
_BIASES = ("bias:0", "beta:0", "moving_mean:0")
_LARGEST_ICON = 64  # pixels; of larger pictures evaluation takes the centre

Network = Callable[[np.ndarray], np.ndarray]
"""Maps prepared pictures `[B, size, size, 3]` to unit-norm embeddings `[B, D]`."""


def random_embedder(encoder: str, size: int) -> Embedder:
    """Makes an encoder with random weights for pictures of `size` pixels.

    Biases too are random: TensorFlow drops additions of zero, and with them what it fuses a convolution with.
    """
    settings = Hyperparameters(
        encoder=encoder,
        labels_per_class=1,  # some split there must be
        recipe="imagenet" if size > _LARGEST_ICON else "cifar",
        large_size=size,
        pixel_mean=(0.49, 0.48, 0.45),
        pixel_stddev=(0.25, 0.24, 0.26),
    )
    network = OnlineNetwork(**settings.network, name="online")
    network.build([None, size, size, 3])
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name.endswith(_BIASES):
            weight.assign(rng.normal(0, 0.05, weight.shape))
    return Embedder(network, settings, embedding="projections")


def networks(embedder: Embedder, folder: pathlib.Path) -> tuple[Network, dict[str, Network]]:
    """Loads the same network into each runtime, by way of files in a folder.

    Returns:
        Ours from files, a function of `[B]` bytes; and by runtime what takes prepared pictures.
    """
    import onnxruntime
    import openvino
    import tf2onnx

    servable = Servable(embedder)
    prepared = tf.TensorSpec([None, embedder.size, embedder.size, embedder.channels], tf.float32, name="prepared")
    alone = tf.function(embedder.embed).get_concrete_function(prepared)
    tf.saved_model.save(servable, str(folder / "1"), signatures=servable.signatures() | {"alone": alone})
    signatures = tf.saved_model.load(str(folder / "1")).signatures
    onnx = str(folder / "network.onnx")
    tf2onnx.convert.from_function(tf.function(embedder.embed), input_signature=[prepared], output_path=onnx)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    compiled = openvino.compile_model(onnx, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})  # else bfloat16 where it can
    alone = signatures["alone"]
    return lambda files: signatures["embed_bytes"](bytes=tf.constant(files))["embedding"].numpy(), {
        _OURS: lambda batch: next(iter(alone(prepared=tf.constant(batch)).values())).numpy(),
        _OTHERS[0]: lambda batch: session.run(None, {session.get_inputs()[0].name: batch})[0],
        _OTHERS[1]: lambda batch: compiled(batch)[0],
    }


def decode(file: bytes, size: int) -> np.ndarray:
    """Decodes a picture with Pillow and cuts its centre out: `[size, size, 3]` in 0..1."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255


def picture_files(count: int, size: int) -> list[bytes]:
    """Draws smooth random pictures whose centre, as evaluation cuts it, is of `size` pixels; returns JPEG files."""
    side = size * 256 // 224 if size > _LARGEST_ICON else size
    rng, files = np.random.default_rng(0), []
    for _ in range(count):
        pixels = tf.image.resize(rng.uniform(0, 255, (1, 9, 9, 3)), [side, side], "bicubic")[0]
        files.append(tf.io.encode_jpeg(tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8), quality=90).numpy())
    return files


def contenders(embedder: Embedder, files: list[bytes], folder: pathlib.Path) -> dict[str, Callable[[], object]]:
    """Returns what is timed on a batch of files: each runtime by its name, and its network alone as "NAME, network".

    Raises:
        ValueError: if they do not agree.
    """
    ours, alone = networks(embedder, folder)
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def prepared() -> np.ndarray:
        return np.stack(list(pool.map(lambda file: decode(file, embedder.size), files)))

    def from_files(network: Network) -> Callable[[], np.ndarray]:
        return lambda: network(prepared())

    def from_pictures(network: Network) -> Callable[[], np.ndarray]:
        batch = prepared()
        return lambda: network(batch)

    timed: dict[str, Callable[[], object]] = {_OURS: lambda: ours(np.array(files, object))}
    timed |= {name: from_files(alone[name]) for name in _OTHERS}
    timed |= {f"{name}, network": from_pictures(network) for name, network in alone.items()}
    expected = ours(np.array(files, object))
    for name, run in timed.items():
        apart = float(np.abs(np.asarray(run()) - expected).max())
        if apart > _TOLERANCE:
            raise ValueError(f"{name} must agree with {_OURS} to {_TOLERANCE}. Received: {apart}")
    return timed


def measure(encoder: str, size: int, batch: int, rounds: int) -> dict[str, float]:
    """Returns the median seconds of each contender; in a process of its own, which for a ResNet-50 takes 13 GB."""
    with tempfile.TemporaryDirectory() as folder:
        timed = contenders(random_embedder(encoder, size), picture_files(batch, size), pathlib.Path(folder))
        return medians(timed, rounds, rest=_REST)


def table(rows: dict[str, dict[str, float]], suffix: str) -> list[str]:
    """Writes a Markdown table of milliseconds by model and runtime, and how ours compares with the fastest other."""
    lines = [f"| | {_OURS} | {' | '.join(_OTHERS)} | ours : faster |", "|---|---|---|---|---|"]
    for row, seconds in rows.items():
        ours, *others = (seconds[name + suffix] for name in (_OURS, *_OTHERS))
        cells = " | ".join(f"{value * 1e3:.2f} ms" for value in (ours, *others))
        lines.append(f"| {row} | {cells} | {ours / min(others):.2f} |")
    return lines


def main(argv: list[str]) -> None:
    """Prints two Markdown tables."""
    del argv
    rows = {}
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for model in _MODELS.value:
            encoder, _, size = model.partition(":")
            for batch in _BATCHES.value:
                timed = pool.submit(measure, encoder, int(size), int(batch), ROUNDS.value)
                rows[f"{encoder}, {size} px, batch {batch}"] = timed.result()
    print("\n".join(["From files:", "", *table(rows, ""), "", "Networks alone:", "", *table(rows, ", network")]))


if __name__ == "__main__":
    app.run(main)
