r"""Compares two Python environments, in turns: a training step in float32 and bfloat16, and answers of a SavedModel.

    .venv/bin/python -m semppl.benchmarks.comparisons.two_stacks --other=.venv-tf221/bin/python --served=served/own/1 --jpeg=a.jpg

Each environment has a process of its own, which waits while the other computes. Every round times both; the table shows medians,
and the median over rounds of the other's time divided by this one's.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import app, flags

_OTHER = flags.DEFINE_string("other", "", "Python of the other environment.")
_SERVED = flags.DEFINE_string("served", "", "Folder of an exported model; empty: steps alone.")
_JPEG = flags.DEFINE_string("jpeg", "", "Picture file that the model answers.")
_ROUNDS = flags.DEFINE_integer("stack_rounds", 10, "Rounds.", lower_bound=1)
_WORKER = flags.DEFINE_bool("worker", False, "Whether this process is one of the two that are timed.")

_STEP: dict[str, Any] = {
    "labels_per_class": 1,
    "encoder": "resnet18_cifar",
    "width": 0.5,
    "recipe": "identity",
    "large_views": 2,
    "small_views": 0,
    "large_size": 32,
    "small_size": 32,
    "batch_size": 64,
    "labelled_batch_size": 16,
    "queue_size": 256,
    "head_width": 512,
    "embedding_width": 128,
    "steps": 1000,
    "warmup_steps": 0,
}


def _tasks() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields what is timed, by name; each is called once before."""
    import numpy as np
    import tensorflow as tf

    from semppl.configs.hyperparameters import Hyperparameters
    from semppl.trainers import pretrain

    rng = np.random.default_rng(0)
    for precision in ("float32", "bfloat16"):
        settings = Hyperparameters(**_STEP, precision=precision)
        model = pretrain.build_model(settings, 10, jit_compile=False)
        step = tf.function(model.train_step, autograph=False)
        batch = {
            "large": tf.constant(rng.uniform(0, 1, (2, 64, 32, 32, 3)), tf.float32),
            "small": tf.zeros([0, 64, 32, 32, 3]),
            "labels": tf.constant(np.where(np.arange(64) < 16, np.arange(64) % 10, -1), tf.int32),
            "truth": tf.constant(np.arange(64) % 10, tf.int32),
            "groups": tf.range(64, dtype=tf.int64),
        }
        yield f"step, {precision}", lambda step=step, batch=batch: step(batch)["loss"].numpy()  # type: ignore[misc]
    if _SERVED.value:
        answer = tf.saved_model.load(_SERVED.value).signatures["serving_default"]
        picture = tf.io.read_file(_JPEG.value)
        for count in (1, 32):
            pictures = tf.repeat(picture, count)
            yield f"answer, batch {count}", lambda pictures=pictures: answer(bytes=pictures)["embedding"].numpy()  # type: ignore[misc]


def _work() -> None:
    """Answers each line on standard input with the seconds of each task."""
    tasks = dict(_tasks())
    for task in tasks.values():
        task()
    for _ in sys.stdin:
        seconds = {}
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name] = time.perf_counter() - start
        print(json.dumps(seconds), flush=True)


def _ask(worker: subprocess.Popen[str]) -> dict[str, float]:
    """Lets a worker compute every task once; returns the seconds of each."""
    if worker.stdin is None or worker.stdout is None:
        raise ValueError("`worker` must have pipes for standard input and output")
    worker.stdin.write("\n")
    worker.stdin.flush()
    seconds: dict[str, float] = json.loads(worker.stdout.readline())
    return seconds


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    if _WORKER.value:
        _work()
        return
    options = [
        "-m",
        "semppl.benchmarks.comparisons.two_stacks",
        "--worker",
        f"--served={_SERVED.value}",
        f"--jpeg={_JPEG.value}",
    ]
    workers = [
        subprocess.Popen([python, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for python in (sys.executable, _OTHER.value)
    ]
    rounds = [[_ask(worker) for worker in workers] for _ in range(_ROUNDS.value + 1)][1:]  # the first warms caches
    for worker in workers:
        worker.communicate()
    print("| | this | other | other : this |\n|---|---|---|---|")
    for name in rounds[0][0]:
        this, other = ([both[which][name] for both in rounds] for which in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(this, other, strict=True))
        print(
            f"| {name} | {statistics.median(this) * 1e3:.1f} ms | {statistics.median(other) * 1e3:.1f} ms | {ratio:.2f} |"
        )


if __name__ == "__main__":
    app.run(main)
