"""Lists third-party networks as encoders: parameters, smallest pictures, width of the features, and time per picture.

    python -m semppl.benchmarks.encoder_cost --networks=keras:MobileNetV2,keras:ResNet50

A time is the median over --rounds batches of the forward pass, in inference mode, with random weights. Without --timed, the table
has no times, and the machine need not be quiet.
"""

import statistics
import time
from typing import NamedTuple

import tensorflow as tf
from absl import app, flags

from semppl.benchmarks.step_share import ROUNDS
from semppl.layers.encoders import applications
from semppl.layers.encoders.registry import APPLICATION, application_of, build_encoder

_NETWORKS = flags.DEFINE_list("networks", [], "Names of encoders; empty: all networks of Keras Applications.")
_SIZE = flags.DEFINE_integer("picture_size", 224, "Side of the pictures, in pixels.", lower_bound=1)
_BATCH = flags.DEFINE_integer("pictures_timed", 32, "Pictures in a batch.", lower_bound=1)
_TIMED = flags.DEFINE_boolean("timed", True, "Whether to measure times.")


class Cost(NamedTuple):
    """What an encoder takes.

    Attributes:
        parameters: Number of parameters, moving averages included.
        smallest: Smallest side of a picture, in pixels; 0 if unknown.
        width: Width of the features.
        milliseconds: Time a picture; None if not measured.
    """

    parameters: int
    smallest: int
    width: int
    milliseconds: float | None


def cost(name: str, *, size: int, pictures: int, rounds: int) -> Cost:
    """Builds an encoder and times its forward pass.

    Args:
        name: Name of the encoder.
        size: Side of the pictures, in pixels.
        pictures: Pictures in a batch.
        rounds: Batches to time; 0 for none.
    """
    network = application_of(name)
    smallest = applications.smallest_size(network) if network else 0
    encoder = build_encoder(name, size=size)
    width = int(encoder(tf.zeros([1, size, size, 3])).shape[-1])
    milliseconds = None
    if rounds:
        encode = tf.function(encoder, autograph=False)
        images = tf.random.stateless_uniform([pictures, size, size, 3], [0, 0])
        encode(images)
        milliseconds = 1000 * statistics.median(_seconds(encode, images) for _ in range(rounds)) / pictures
    return Cost(encoder.count_params(), smallest, width, milliseconds)


def _seconds(encode: tf.types.experimental.PolymorphicFunction, images: tf.Tensor) -> float:
    start = time.perf_counter()
    encode(images).numpy()
    return time.perf_counter() - start


def row(name: str, cost: Cost) -> str:
    """Writes a row of the table in docs/reference/encoders.md."""
    measured = "" if cost.milliseconds is None else f"{cost.milliseconds:.1f}"
    return f"| `{name}` | {cost.parameters:,} | {cost.smallest or ''} | {cost.width} | {measured} |"


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    print("| name | parameters | smallest size | D | ms a picture |\n|---|---:|---:|---:|---:|", flush=True)
    for name in _NETWORKS.value or [APPLICATION + network for network in applications.APPLICATIONS]:
        rounds = ROUNDS.value if _TIMED.value else 0
        print(row(name, cost(name, size=_SIZE.value, pictures=_BATCH.value, rounds=rounds)), flush=True)
        tf.keras.backend.clear_session()  # else the memory of every network is held to the end


if __name__ == "__main__":
    app.run(main)
