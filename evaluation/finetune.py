"""Trains on top of a run's encoder, as the papers do to compare encoders: prints the accuracy and writes `finetune_PROTOCOL.json`.

python -m semppl.evaluation.finetune --workdir=outputs/digits --protocol=linear
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import json
import math
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from semppl.configs import choices
from semppl.configs.choices import TRANSFER
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.programs import place_flags, quiet, run_flags
from semppl.programs.batch_size_flag import BatchSize

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(place_flags)

_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    None,
    [*choices.PROTOCOLS, choices.TRANSFER],
    "linear: a classifier on the frozen encoder, from all labels. semi_supervised: all weights, on the labelled images of the "
    "run. transfer: logistic regression on frozen features, from all labels.",
)
_LEARNING_RATES = flags.DEFINE_list(
    "learning_rates", [], "Comma-separated learning rates to try; empty: those of the protocol."
)
_EPOCH_COUNTS = flags.DEFINE_list(
    "epoch_counts", [], "Comma-separated numbers of epochs to try; empty: those of the protocol."
)
BATCH_SIZE = BatchSize(1024, "Maximum batch size; a smaller training set is one batch.")
_HELD_OUT_SHARE = flags.DEFINE_float(
    "held_out_share",
    0.2,
    "Share of the training images, in (0, 1), that is held out to choose the protocol's settings on.",
)
_DRAW_SEED = flags.DEFINE_integer("draw_seed", 0, "Seed of the held-out images, the batches and the crops.")
_TARGET_DATA = flags.DEFINE_string(
    "target_data", "", "Source of training images, in the form of --data; empty: the run's."
)
_TARGET_TEST = flags.DEFINE_string("target_test", "", "Source of test images for --target_data, in the form of --test.")
_TARGET_DATA_DIR = flags.DEFINE_string(
    "target_data_dir", "", "Folder of the data sets that tensorflow-datasets prepared; empty: the run's."
)

quiet.parse_flags(__name__, required=["protocol"], define=BATCH_SIZE.define)

import tensorflow as tf

from semppl.data.images import NO_LABEL
from semppl.data.run_data import load_run_data
from semppl.data.splits import RunData, load_data
from semppl.evaluation.protocols.papers import PROTOCOLS, Report, Task, train_classifier, transfer_features
from semppl.runs import checkpoints
from semppl.runs.files import write_atomically


def finetune(
    workdir: str | pathlib.Path,
    protocol: str,
    *,
    learning_rates: Sequence[float] = (),
    epochs: Sequence[float] = (),
    batch_size: int = 1024,
    held_out_share: float = 0.2,
    seed: int = 0,
    target_data: str = "",
    target_test: str = "",
    target_data_dir: str = "",
    moved: Mapping[str, Any] | None = None,
) -> Report:
    """Evaluates the latest checkpoint of a run by a protocol, and writes `finetune_PROTOCOL.json` into the run's folder.

    Args:
        workdir: Folder of the run.
        protocol: Key of PROTOCOLS, or TRANSFER.
        learning_rates: Learning rates to try; empty: the protocol's.
        epochs: Numbers of epochs to try; empty: the protocol's.
        batch_size: Maximum batch size.
        held_out_share: Share of the training images, in (0, 1), that is held out to choose the protocol's settings on.
        seed: Seed of the held-out images, the batches and the crops.
        target_data: Source of training images, for protocols that use all labels; empty: the run's.
        target_test: Source of test images for `target_data`.
        target_data_dir: Folder of the data sets that tensorflow-datasets prepared; empty: the run's.
        moved: Settings, by name, of the run's data that now lie elsewhere; see `load_run_data`.

    Returns:
        The report: the accuracy in 0..1 on the test images, the chosen settings, and the accuracy of every setting on the held-out
        training images.

    Raises:
        ValueError: If there is no run, no checkpoint or no labelled test image, or an argument is not allowed.
    """
    if not 0 < held_out_share < 1:
        raise ValueError(f"--held_out_share must be in (0, 1). Received: {held_out_share}")
    hyperparameters, network, step = checkpoints.load_online(workdir)
    if protocol in PROTOCOLS and not PROTOCOLS[protocol].frozen and hyperparameters.train != "all":
        raise ValueError(
            f"--protocol must be one with a frozen encoder for a run with --train={hyperparameters.train}. Received: {protocol}"
        )
    if target_data and protocol == "semi_supervised":
        raise ValueError(
            f"--target_data must be empty: {protocol} uses the labelled images of the run. Received: {target_data}"
        )
    if target_data:
        data = _load_target(hyperparameters, target_data, target_test, target_data_dir)
    else:
        data = load_run_data(workdir, hyperparameters, moved)
        if protocol != "semi_supervised":
            data = RunData(data.source, data.source.train.labels)
    source = data.source
    test = source.held_out("test")
    judged = test.select(np.flatnonzero(test.labels != NO_LABEL))
    if not len(judged):
        flag = "target_test" if target_data else "test"
        raise ValueError(
            f"--{flag} must have labels to judge by. Received: {counted(len(test), 'image')}, none with a label"
        )
    images = source.train.select(np.flatnonzero(data.labels != NO_LABEL))
    classes = len(source.class_names)
    task = Task(hyperparameters, network, images, judged, classes, batch_size, held_out_share, seed)
    if protocol == TRANSFER:
        result = transfer_features(task)
    else:
        papers = PROTOCOLS[protocol]
        rates, lengths = tuple(learning_rates) or papers.learning_rates, tuple(epochs) or papers.epochs
        result = train_classifier(task, dataclasses.replace(papers, learning_rates=rates, epochs=lengths))
    header = {"protocol": protocol, "data": target_data or hyperparameters.data, "step": step, "seed": seed}
    report = header | {"train_images": len(images), "test_images": len(judged)} | result
    path = pathlib.Path(workdir) / f"finetune_{protocol}.json"
    write_atomically(path, json.dumps(report, indent=2) + "\n")
    return report


def _load_target(hyperparameters: Hyperparameters, data: str, test: str, data_dir: str) -> RunData:
    """Loads the images of another data set, with all labels."""
    every_label = dataclasses.replace(hyperparameters, labels_per_class=0, label_fraction=1.0, label_list="")
    data_dir = data_dir or hyperparameters.data_dir
    target = dataclasses.replace(every_label, data=data, test=test, validation="", data_dir=data_dir, mask_feature="")
    loaded = load_data(target)
    channels = loaded.source.train.channels
    if channels != hyperparameters.channels:
        allowed = f"of {hyperparameters.channels} channels, as the run's images"
        raise ValueError(f"--target_data must be {allowed}. Received: {data}, of {channels}")
    return loaded


def _numbers(flag: flags.FlagHolder) -> list[float]:
    try:
        numbers = [float(part) for part in flag.value]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise ValueError(
            f"--{flag.name} must be positive numbers with commas between. Received: {','.join(flag.value)}"
        )
    return numbers


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    tf.config.experimental.enable_op_determinism()
    warnings.filterwarnings("ignore", "lbfgs failed to converge")  # with very weak regularisation
    if BATCH_SIZE.value < 2:
        raise ValueError(f"--batch_size must be 2 or more. Received: {BATCH_SIZE.value}")
    report = finetune(
        run_flags.WORKDIR.value,
        str(_PROTOCOL.value),
        learning_rates=_numbers(_LEARNING_RATES),
        epochs=_numbers(_EPOCH_COUNTS),
        batch_size=BATCH_SIZE.value,
        held_out_share=_HELD_OUT_SHARE.value,
        seed=_DRAW_SEED.value,
        target_data=_TARGET_DATA.value,
        target_test=_TARGET_TEST.value,
        target_data_dir=_TARGET_DATA_DIR.value,
        moved=place_flags.moved_from_flags(),
    )
    chosen = ", ".join(f"{name} {value:g}" for name, value in report["chosen"].items())
    trained, tested = report["train_images"], report["test_images"]
    print(
        f"{report['protocol']}: {report['accuracy']:.4f} on {counted(tested, 'test image')}, "
        f"from {counted(trained, 'label')} ({chosen})"
    )
    return 0


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
