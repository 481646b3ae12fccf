"""Which devices a run uses, by name."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple

import grpc
import tensorflow as tf

from semppl.configs.wording import counted
from semppl.trainers.devices import rendezvous
from semppl.trainers.devices.workers import ALONE, Cluster

STRATEGIES = ("auto", "default", "mirrored", "multiworker", "tpu")

_SECONDS_TO_ANSWER = 10
_SECONDS_TO_JOIN = 60  # at least, for workers that have met
_STATUS = "/tensorflow.WorkerService/GetStatus"
_NO_TPU = "ConfigureDistributedTPU"  # what TensorFlow then finds no kernel for
_WATCH = """
import os, select, signal, sys
seconds, line, process = sys.argv[1:]
if not select.select([sys.stdin], [], [], float(seconds))[0]:  # else the pipe was closed: joined, or ended
    print(line, file=sys.stderr, flush=True)
    os.kill(int(process), signal.SIGKILL)
"""
_NAMES_A_TPU = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_CONFIG")


class Choice(NamedTuple):
    """A resolved strategy.

    Attributes:
        name: One of `STRATEGIES`, but not auto.
        why: Reason for the choice, in words.
        cluster: The processes that train together; `ALONE` but for multiworker.
    """

    name: str
    why: str
    cluster: Cluster = ALONE


def choose(name: str, tpu: str = "") -> Choice:
    """Resolves `auto`: the TPU that is named, else the workers that TF_CONFIG names, else all GPUs, else one CPU.

    Call it before TensorFlow starts any device: several workers must find each other first.

    Args:
        name: One of `STRATEGIES`.
        tpu: Address of a TPU, or `local`; empty for the one that the environment names.

    Returns:
        The strategy, the reason, and the cluster of the workers if there are several.

    Raises:
        ValueError: If the name is unknown, does not go with `tpu`, or TF_CONFIG is malformed.
    """
    if name not in STRATEGIES:
        raise ValueError(f"--strategy must be one of {', '.join(STRATEGIES)}. Received: {name}")
    if tpu and name not in ("auto", "tpu"):
        raise ValueError(f"--tpu must come with --strategy=tpu or auto. Received: --tpu={tpu} --strategy={name}")
    if name == "mirrored" and not tf.config.list_logical_devices("GPU"):
        return Choice(name, "asked for, but there is no GPU")
    if name != "auto":
        return Choice(name, "asked for", Cluster.from_environment() if name == "multiworker" else ALONE)
    named = [f"--tpu={tpu}"] * bool(tpu) + [f"{key} is set" for key in _NAMES_A_TPU if os.environ.get(key)]
    if named:
        return Choice("tpu", f"auto: {named[0]}")
    cluster = Cluster.from_environment()
    if cluster.size > 1:
        return Choice("multiworker", f"auto: TF_CONFIG names {cluster.size} workers", cluster)
    gpus = len(tf.config.list_logical_devices("GPU"))
    return Choice("mirrored" if gpus > 1 else "default", f"auto: {gpus or 'no'} GPU, no TPU named")


def make_strategy(
    name: str, *, cluster: Cluster = ALONE, tpu: str = "", worker_patience: float = 600
) -> tf.distribute.Strategy:
    """Makes a distribution strategy.

    Args:
        name: default (one device), mirrored (all GPUs, or all logical CPUs, of this machine), multiworker (all GPUs, or one
            CPU, of each worker of the cluster) or tpu; see `choose`.
        cluster: Workers of TF_CONFIG, for multiworker.
        tpu: Address of the TPU, or `local`; empty for the one that the environment names.
        worker_patience: Seconds that other workers have to start.

    Returns:
        The strategy; models must be built in its scope.

    Raises:
        ValueError: If no TPU answers, TF_CONFIG names no workers, or one of them does not start in time.
    """
    if name == "tpu":
        return _tpu(tpu or os.environ.get("TPU_NAME") or None)
    if name == "multiworker":
        return _multiworker(cluster, worker_patience)
    return _mirrored() if name == "mirrored" else tf.distribute.get_strategy()


def compiles(jit_compile: str, strategy: tf.distribute.Strategy) -> bool:
    """Decides whether XLA compiles the step.

    Args:
        jit_compile: auto (on for TPU and GPU, off on a CPU, where it halves the speed), true or false.
        strategy: Strategy that runs the step.

    Raises:
        ValueError: If the value is unknown, or XLA is asked for over several CPU replicas, where it does not work.
    """
    if jit_compile not in ("auto", "true", "false"):
        raise ValueError(f"--jit_compile must be auto, true or false. Received: {jit_compile}")
    on_cpu = not finishes_views(strategy)
    if jit_compile == "true" and on_cpu and strategy.num_replicas_in_sync > 1:
        raise ValueError("--jit_compile must be auto or false over several CPU replicas. Received: true")
    return not on_cpu if jit_compile == "auto" else jit_compile == "true"


def describe(strategy: tf.distribute.Strategy, cluster: Cluster = ALONE) -> str:
    """Describes the devices of a strategy, and of how many workers they are, in words."""
    count = strategy.num_replicas_in_sync
    if _is_tpu(strategy):
        return f"{count} TPU cores"
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return f"{counted(count, kind)} of {counted(cluster.size, 'worker')}"
    return f"one {kind}" if count == 1 else f"{count} {kind}s, mirrored"


def finishes_views(strategy: tf.distribute.Strategy) -> bool:
    """Decides whether the device itself finishes the views it is fed: a TPU or GPU does; on a CPU the pipeline is faster."""
    return _is_tpu(strategy) or bool(tf.config.list_logical_devices("GPU"))


def _is_tpu(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.TPUStrategy)


def _mirrored() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multiworker(cluster: Cluster, patience: float) -> tf.distribute.Strategy:
    if not cluster.addresses:
        how = "auto, default or mirrored, or TF_CONFIG name the workers"
        raise ValueError(f"--strategy must be {how}. Received: multiworker, without TF_CONFIG")
    rendezvous.meet(cluster.addresses, cluster.place, patience)
    with _not_for_ever(max(patience, _SECONDS_TO_JOIN)):
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            raise ValueError(f"TF_CONFIG must name workers that can join. Received: {reason}") from error


@contextlib.contextmanager
def _not_for_ever(seconds: float) -> Iterator[None]:
    """Ends the process if TensorFlow waits too long for a worker that was lost after the rendezvous.

    TensorFlow waits in C++ and holds Python's lock: no thread or handler of Python's runs meanwhile. So another process keeps
    the time, and SIGINT is left to its default.
    """
    lost = f"a worker was lost before training began: not all have joined within {seconds:g} s (--worker_patience)"
    line = f"error: {lost}. Start all again, each with its own command"
    command = [sys.executable, "-I", "-S", "-c", _WATCH, str(seconds), line, str(os.getpid())]
    in_main = threading.current_thread() is threading.main_thread()
    former = signal.signal(signal.SIGINT, signal.SIG_DFL) if in_main else None
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):  # leaving it closes the pipe
            yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, former)


def _tpu(name: str | None) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        _call(resolver.master())
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, IndexError, RuntimeError, OSError, ImportError, tf.errors.OpError) as error:
        reason = "this machine has none" if _NO_TPU in str(error) else str(error).splitlines()[0]
        how = "a TPU that answers: its name, grpc://HOST:PORT, or `local` on a machine that has one"
        raise ValueError(
            f"--tpu must be {how}; or --strategy default, mirrored or multiworker. Received: --tpu={name or ''} ({reason})"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _call(master: str) -> None:
    """Fails where no TensorFlow answers at a `grpc://host:port`: it would wait for hours, or abort the process."""
    address = master.removeprefix("grpc://")
    host, _, port = address.rpartition(":")
    if not host:
        return
    socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_SECONDS_TO_ANSWER)
        except grpc.FutureTimeoutError:
            raise OSError(f"{address} accepts connections, but does not answer within {_SECONDS_TO_ANSWER} s") from None
        try:
            channel.unary_unary(_STATUS)(b"", timeout=_SECONDS_TO_ANSWER)
        except grpc.RpcError as error:
            raise OSError(f"{address} is no TensorFlow server: {error.code().name}") from None
