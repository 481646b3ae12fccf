r"""Estimates how a step scales over TPU v4 slices, from the compiler's counts for one chip; nothing is measured.

    python -m semppl.benchmarks.scaling --flagfile=configs/imagenet_1_percent_resnet50.flags \
      --images_a_chip=32 --tflop=… --gigabytes_accessed=…

--tflop and --gigabytes_accessed come from tpu_compile's row for a step of --images_a_chip. `Chip` lists the assumptions.
"""

import dataclasses
import math
from typing import NamedTuple

from absl import app, flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import command_line, quiet
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags

_IMAGES = flags.DEFINE_integer("images_a_chip", 32, "Images per chip in the compiled step.", lower_bound=1)
_TFLOP = flags.DEFINE_float("tflop", None, "Floating-point operations of the compiled step, in 10¹².")
_GIGABYTES = flags.DEFINE_float("gigabytes_accessed", None, "Memory traffic of the compiled step, in GB.")
_PARAMETERS = flags.DEFINE_integer("parameters", 35_066_944, "Trainable parameters; default: ResNet-50 with its heads.")
_NORM_LAYERS = flags.DEFINE_integer("norm_layers", 54, "Batch norms of encoder and projector.")

CORES = (8, 16, 32, 64, 128, 256, 512)
_NUM_IMAGES = 1_281_167
_TIMES = ("networks, ms", "gather, ms", "gradient, ms", "batch norm, ms", "step, s")
_COLUMNS = ("slice", "chips", "images a chip", "micro-batches", *_TIMES, "images/s", "of linear")


@dataclasses.dataclass(frozen=True)
class Chip:
    """Assumptions about a TPU v4 chip, whose two cores work as one replica.

    Attributes:
        flops: peak operations a second, bfloat16.
        memory_bandwidth: bytes a second.
        utilisation: share of either peak that a step reaches.
        link_bandwidth: bytes a second that a sum over replicas moves through each chip; the six links have 300 GB/s together.
        latency: seconds of a sum over replicas, however small.
        hop: seconds more for each hop through the torus.
    """

    flops: float = 275e12
    memory_bandwidth: float = 1.2e12
    utilisation: float = 0.5
    link_bandwidth: float = 100e9
    latency: float = 10e-6
    hop: float = 1e-6


class Step(NamedTuple):
    """Seconds of a step's parts, which are assumed not to overlap, and the number of micro-batches."""

    parts: int
    networks: float
    gather: float
    gradient: float
    batch_norm: float

    @property
    def seconds(self) -> float:
        """Sum over the parts."""
        return self.networks + self.gather + self.gradient + self.batch_norm


def step(
    settings: Hyperparameters,
    chips: int,
    *,
    images: int,
    flops: float,
    accessed: float,
    parameters: int,
    norm_layers: int,
    chip: Chip,
) -> Step:
    """Estimates the parts of a step.

    Args:
        settings: N, the views and D.
        chips: R, replicas.
        images: a chip's, of the step that was compiled; more go through in micro-batches.
        flops: of that step.
        accessed: bytes, of that step.
        parameters: summed over replicas, in float32.
        norm_layers: of the target network; the online one has one more. Each view sums once a layer, and again going back.
        chip: assumptions.
    """
    share = settings.batch_size / chips
    parts = math.ceil(share / images)
    large, all_views = settings.large_views, view_areas(settings)
    again = (
        all_views / (3 * all_views + large) if parts > 1 else 0.0
    )  # forward once more, of forward and twice that back, and target
    each = max(flops / chip.flops, accessed / chip.memory_bandwidth) / chip.utilisation / images
    sums = (norm_layers + 1) * settings.num_views * (3 if parts > 1 else 2) + norm_layers * large
    gathered = settings.batch_size * (4 * large * settings.embedding_width + 12)  # a label and an id in 12 bytes
    hops = 3 * (round(chips ** (1 / 3)) // 2)
    wait = chip.latency + chip.hop * hops

    def summed(size: float) -> float:
        return wait + 2 * (chips - 1) / chips * size / chip.link_bandwidth

    return Step(parts, share * each * (1 + again), summed(gathered), summed(4 * parameters), parts * sums * wait)


def view_areas(settings: Hyperparameters) -> float:
    """Returns the pixels of an image's views, in large views."""
    return settings.large_views + settings.small_views * (settings.small_size / settings.large_size) ** 2


@quiet.program
def main(argv: list[str]) -> int:
    """Prints a Markdown table; returns the exit code."""
    del argv
    settings = hyperparameters_from_flags()
    steps = settings.epochs * _NUM_IMAGES / settings.batch_size
    print("| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|")
    first = None
    for cores in CORES:
        chips = cores // 2
        counted = step(
            settings,
            chips,
            images=_IMAGES.value,
            flops=1e12 * float(_TFLOP.value),  # type: ignore[arg-type]  # required
            accessed=1e9 * float(_GIGABYTES.value),  # type: ignore[arg-type]
            parameters=_PARAMETERS.value,
            norm_layers=_NORM_LAYERS.value,
            chip=Chip(),
        )
        first = first or chips * counted.seconds
        parts = [f"{1e3 * seconds:.1f}" for seconds in counted[1:]]
        rate, efficiency = settings.batch_size / counted.seconds, first / (chips * counted.seconds)
        cells = [f"v4-{cores}", chips, settings.batch_size // chips, counted.parts, *parts, f"{counted.seconds:.2f}"]
        print("| " + " | ".join([*map(str, cells), f"{rate:,.0f}", f"{efficiency:.0%}"]) + " |")
    print(f"\n{settings.epochs:.0f} epochs are {steps:,.0f} steps.")
    return 0


if __name__ == "__main__":
    flags.mark_flags_as_required([_TFLOP.name, _GIGABYTES.name])
    app.run(main, flags_parser=command_line.parse)
