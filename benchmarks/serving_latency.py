"""Measures latency from picture files to embeddings: the exported model, ONNX Runtime and OpenVINO on the same weights.

    python -m semppl.benchmarks.serving_latency

Needs the extra `runtimes`. ResNet-18 on 32×32 and ResNet-50 on 224×224, batches of 1 and 32, JPEG files. Ours is the signature
`embed_bytes` of a SavedModel; for the others Pillow decodes, in as many threads as there are processors, and the runtime runs the
network; all in float32, and else at their default settings. With `--served_dtype=bfloat16` ours is exported so, and OpenVINO does
what it does of itself, the same where the processor can; ONNX Runtime stays in float32.

Tables: requests that come now and then, one at a time after a rest; requests that come one after another, in turns of ten; and both
for the networks alone, on prepared pictures. Medians. Each turn begins with a rest, in which the threads of other runtimes fall
asleep, and a call that is not counted; before that all must agree.
"""

import concurrent.futures
import functools
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
from semppl.data.views.recipes import find_recipe
from semppl.export.model.embedder import Embedder
from semppl.export.model.servable import Servable
from semppl.layers.networks import OnlineNetwork
from semppl.programs import run_flags

_MODELS = flags.DEFINE_list(
    "encoders", ["resnet18_cifar:32", "resnet50:224"], "Networks as ENCODER:PIXELS, comma-separated."
)
_BATCHES = flags.DEFINE_list("request_sizes", ["1", "32"], "Batch sizes of a request, comma-separated.")
_DTYPE = flags.DEFINE_enum("served_dtype", "float32", ("float32", "bfloat16"), "Arithmetic of the exported model.")

_OURS, _OTHERS = "SavedModel", ("ONNX Runtime", "OpenVINO")
_TOLERANCES = {"float32": 1e-3, "bfloat16": 3e-2}
_CALLS = 10  # of a turn, where they come one after another
_FEWER = 3  # times fewer such turns
_REST = 0.05  # seconds; threads of ONNX Runtime and OpenVINO keep a processor busy for a while after their work is done
_BIASES = ("bias:0", "beta:0", "moving_mean:0")
_LARGEST_ICON = 64  # pixels; of larger pictures evaluation takes the centre

Network = Callable[[np.ndarray], np.ndarray]
"""Maps prepared pictures `[B, size, size, 3]` to unit-norm embeddings `[B, D]`."""


def random_embedders(encoder: str, size: int, dtype: str = "float32") -> tuple[Embedder, Embedder]:
    """Makes an encoder with random weights for pictures of `size` pixels: in float32, and the same in `dtype`.

    Biases too are random: TensorFlow drops additions of zero, and with them what it fuses a convolution with.
    """
    recipe = "imagenet" if size > _LARGEST_ICON else "cifar"
    settings = Hyperparameters(
        encoder=encoder,
        labels_per_class=1,  # some split there must be
        recipe=recipe,
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
    embedder = functools.partial(
        Embedder, network, settings, embedding="projections", centre_crop=find_recipe(recipe).centre_crop
    )
    plain = embedder()
    if dtype == "float32":
        return plain, plain
    return plain, embedder(dtype=dtype, fold=False)  # it has been folded


def networks(plain: Embedder, served: Embedder, folder: pathlib.Path) -> tuple[Network, dict[str, Network]]:
    """Loads the same network into each runtime, by way of files in a folder; OpenVINO may use 16 bits if ours does.

    Returns:
        The exported model as a function of `[B]` encoded pictures, and by runtime a function of prepared pictures.
    """
    import onnxruntime
    import openvino
    import tf2onnx

    servable = Servable(served)
    prepared = tf.TensorSpec([None, served.size, served.size, served.channels], tf.float32, name="prepared")
    alone = tf.function(served.embed).get_concrete_function(prepared)
    tf.saved_model.save(servable, str(folder / "1"), signatures=servable.signatures() | {"alone": alone})
    signatures = tf.saved_model.load(str(folder / "1")).signatures
    onnx = str(folder / "network.onnx")
    tf2onnx.convert.from_function(tf.function(plain.embed), input_signature=[prepared], output_path=onnx)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    # Of itself it computes in bfloat16 where it can.
    compiled = openvino.compile_model(onnx, "CPU", {"INFERENCE_PRECISION_HINT": "f32"} if served is plain else {})
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


def contenders(
    encoder: str, size: int, files: list[bytes], folder: pathlib.Path, dtype: str = "float32"
) -> dict[str, Callable[[], object]]:
    """Returns the contenders for a batch of files: each runtime by its name, and its network alone as "NAME, network".

    Raises:
        ValueError: if they do not agree.
    """
    ours, alone = networks(*random_embedders(encoder, size, dtype), folder)
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())

    def prepared() -> np.ndarray:
        return np.stack(list(pool.map(lambda file: decode(file, size), files)))

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
        if apart > _TOLERANCES[dtype]:
            raise ValueError(f"{name} must agree with {_OURS} to {_TOLERANCES[dtype]}. Received: {apart}")
    return timed


def measure(encoder: str, size: int, batch: int, rounds: int, dtype: str) -> tuple[dict[str, float], ...]:
    """Returns the median seconds of each contender, now and then and one after another.

    In a process of its own, which for a ResNet-50 takes 13 GB.
    """
    with tempfile.TemporaryDirectory() as folder:
        timed = contenders(encoder, size, picture_files(batch, size), pathlib.Path(folder), dtype)
        sporadic = medians(timed, rounds, rest=_REST)
        return sporadic, medians(timed, max(rounds // _FEWER, 1), rest=_REST, calls=_CALLS)


def table(rows: dict[str, dict[str, float]], suffix: str) -> list[str]:
    """Writes a Markdown table of milliseconds by model and runtime, and how ours compares with the fastest other."""
    lines = [f"| | {_OURS} | {' | '.join(_OTHERS)} | ours : faster |", "|---|---|---|---|---|"]
    for row, seconds in rows.items():
        ours, *others = (seconds[name + suffix] for name in (_OURS, *_OTHERS))
        cells = " | ".join(f"{value * 1e3:.2f} ms" for value in (ours, *others))
        lines.append(f"| {row} | {cells} | {ours / min(others):.2f} |")
    return lines


def main(argv: list[str]) -> None:
    """Prints four Markdown tables."""
    del argv
    sporadic, steady = {}, {}
    for model in _MODELS.value:
        encoder, _, size = model.partition(":")
        for batch in _BATCHES.value:
            with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh_process:
                timed = fresh_process.submit(measure, encoder, int(size), int(batch), ROUNDS.value, _DTYPE.value)
            row = f"{encoder}, {size} px, batch {batch}"
            sporadic[row], steady[row] = timed.result()
    for requests, rows in (("now and then", sporadic), ("one after another", steady)):
        for what, suffix in (("From files", ""), ("Networks alone", ", network")):
            print("\n".join([f"{what}, {requests}:", "", *table(rows, suffix), ""]))


if __name__ == "__main__":
    run_flags.accept_none()
    app.run(main)
