"""Which devices a run uses, by name."""

import os
import socket
from collections.abc import Callable

import tensorflow as tf

_SECONDS_TO_ANSWER = 10


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Makes a distribution strategy.

    Args:
        name: auto (the TPU that TPU_NAME names, else all GPUs, else the CPU), default (one device), mirrored (all GPUs, or
            all logical CPUs, of this machine) or tpu.

    Returns:
        The strategy; models must be built in its scope.

    Raises:
        ValueError: if the name is unknown, or a TPU is named or asked for and none answers.
    """
    if name not in STRATEGIES:
        raise ValueError(f"--strategy must be one of {', '.join(STRATEGIES)}. Received: {name}")
    return STRATEGIES[name]()


def compiles(jit_compile: str, strategy: tf.distribute.Strategy) -> bool:
    """Decides whether XLA compiles the step.

    Args:
        jit_compile: auto (on for TPU and GPU, off on a CPU, where it halves the speed), true or false.
        strategy: where the step runs.

    Raises:
        ValueError: if the value is unknown, or XLA is asked for over several CPU replicas, where it does not work.
    """
    if jit_compile not in ("auto", "true", "false"):
        raise ValueError(f"--jit_compile must be auto, true or false. Received: {jit_compile}")
    on_cpu = not finishes_views(strategy)
    if jit_compile == "true" and on_cpu and strategy.num_replicas_in_sync > 1:
        raise ValueError("--jit_compile must be auto or false over several CPU replicas. Received: true")
    return not on_cpu if jit_compile == "auto" else jit_compile == "true"


def finishes_views(strategy: tf.distribute.Strategy) -> bool:
    """Decides whether the device itself finishes the views it is fed: a TPU or GPU does; on a CPU the pipeline is faster."""
    return _is_tpu(strategy) or bool(tf.config.list_logical_devices("GPU"))


def _is_tpu(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.TPUStrategy)


def _default() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _tpu() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME")  # TensorFlow itself reads it, but does not know `local` there
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        _call(resolver.master())
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, IndexError, RuntimeError, OSError, ImportError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        how = "auto, default or mirrored, or TPU_NAME name a TPU that answers (`local` on a machine that has one)"
        raise ValueError(f"--strategy must be {how}. Received: tpu, TPU_NAME={name} ({reason})") from error
    return tf.distribute.TPUStrategy(resolver)


def _call(master: str) -> None:
    """Fails where nobody listens at a `grpc://host:port`: TensorFlow would wait for hours."""
    host, _, port = master.removeprefix("grpc://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()


def _auto() -> tf.distribute.Strategy:
    if any(os.environ.get(name) for name in _NAMES_A_TPU):
        return _tpu()
    return _mirrored() if len(tf.config.list_logical_devices("GPU")) > 1 else _default()


_NAMES_A_TPU = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_CONFIG")

STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "auto": _auto,
    "default": _default,
    "mirrored": _mirrored,
    "tpu": _tpu,
}
