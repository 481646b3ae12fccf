"""Trains an encoder on many images and a few labels: one run, from flags to `done.json`.

python -m semppl.trainers.pretrain --flagfile=configs/digits.flags --workdir=runs/digits
"""

import dataclasses
import os
import pathlib
import signal
import sys
from collections.abc import Callable

if __name__ == "__main__":  # before TensorFlow is imported: it greets with a dozen lines, and takes seconds
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import numpy as np
import tensorflow as tf
from absl import app, flags

from semppl.configs import run_flags
from semppl.configs.hyperparameter_flags import hyperparameters_from_flags
from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.images import NO_LABEL, Source
from semppl.data.label_split import visible_labels
from semppl.data.pipeline import Pipeline
from semppl.data.splits import load_data
from semppl.data.streaming import StreamedImageSet, boxes_of
from semppl.data.views import RECIPES
from semppl.layers.encoders import ENCODERS
from semppl.trainers import callbacks, checkpoints, schedules, strategy
from semppl.trainers.initial_encoder import check_initial_run, start_from_initial_run
from semppl.trainers.optimisers import OPTIMISERS, make_optimiser
from semppl.trainers.progress import Progress
from semppl.trainers.semppl import SemPPL
from semppl.trainers.supervised import Supervised
from semppl.trainers.termination import STOPPED, Termination

METHODS: dict[str, Callable[[Hyperparameters, int], tf.keras.Model]] = {"semppl": SemPPL, "supervised": Supervised}

_STRATEGY = flags.DEFINE_string(
    "strategy", "auto", "Devices: auto, default (one), mirrored (all of this machine), tpu (TPU_NAME says which)."
)
_JIT_COMPILE = flags.DEFINE_string("jit_compile", "auto", "XLA: auto (TPU and GPU, not CPU), true, false.")
_CHECKPOINT_EVERY = flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
_LOG_EVERY = flags.DEFINE_integer(
    "log_every", 10, "Steps between reports to TensorBoard and metrics.jsonl.", lower_bound=1
)


def pretrain(
    hyperparameters: Hyperparameters,
    workdir: pathlib.Path,
    *,
    strategy_name: str = "auto",
    jit_compile: str = "auto",
    checkpoint_every: int = 500,
    log_every: int = 10,
    termination: Termination | None = None,
) -> None:
    """Trains, or goes on training, to the end of the run.

    Args:
        hyperparameters: what to do.
        workdir: folder of the run.
        strategy_name: which devices, see `strategy.make_strategy`.
        jit_compile: whether XLA compiles the step: auto, true or false.
        checkpoint_every: steps between checkpoints.
        log_every: steps between reports.
        termination: tells when to stop early.

    Raises:
        ValueError: before the first step, if something that was asked for cannot be.
        NotFinite: if a term or a weight is no longer a number.
        NotWritten: if the disk is full.
        Terminated: when asked to stop, after saving.
    """
    check_names(hyperparameters)
    check_initial_run(hyperparameters)
    devices = strategy.make_strategy(strategy_name)
    compiled = strategy.compiles(jit_compile, devices)
    source, labels, hyperparameters = prepare_data(hyperparameters, devices.num_replicas_in_sync)
    with checkpoints.open_run(workdir, hyperparameters):
        with devices.scope():
            model = build_model(hyperparameters, len(source.class_names), jit_compile=compiled)
        saved = checkpoints.RunCheckpoints(model, workdir)
        first_step, last_step = saved.restore(), hyperparameters.steps
        if first_step == 0 and hyperparameters.initial_run:
            start_from_initial_run(model, hyperparameters)
        _announce(hyperparameters, workdir, devices, source, int((labels != NO_LABEL).sum()), first_step)
        if first_step < last_step:
            progress = Progress(first_step=first_step, last_step=last_step, batch_size=hyperparameters.batch_size)
            summaries = callbacks.Summaries(
                workdir,
                first_step=first_step,
                last_step=last_step,
                every=log_every,
                class_names=source.class_names,
                warn=progress.say,
            )
            checkpointing = callbacks.Checkpointing(
                saved, every=checkpoint_every, last_step=last_step, termination=termination
            )
            pipeline = Pipeline(source.train, labels, hyperparameters)
            # One replica's share: of the shape that training compiles anyway.
            share = pipeline.batches(first_step=first_step, num_replicas=devices.num_replicas_in_sync)
            summaries.views(next(share.as_numpy_iterator()), first_step)
            if strategy.finishes_views(devices):
                pipeline = dataclasses.replace(pipeline, finish_on_device=True)
            try:
                model.fit(
                    _distributed(pipeline, devices, first_step),
                    steps_per_epoch=last_step - first_step,
                    callbacks=[callbacks.StopOnNotFinite(), summaries, progress, checkpointing],
                    verbose=0,
                )
            finally:
                progress.leave()
        digest = checkpoints.write_done(workdir, last_step, checkpoints.latest_checkpoint(workdir))
    print(f"done: {last_step} steps, weights {digest[:12]}…, in {workdir}", flush=True)


def check_names(hyperparameters: Hyperparameters) -> None:
    """Looks up the names that hyper-parameters give to code.

    Raises:
        ValueError: for an unknown name, with the flag and the names that there are.
    """
    for flag, names in (("method", METHODS), ("encoder", ENCODERS), ("recipe", RECIPES), ("optimiser", OPTIMISERS)):
        name = getattr(hyperparameters, flag)
        if name not in names:
            raise ValueError(f"--{flag} must be one of {', '.join(sorted(names))}. Received: {name}")


def prepare_data(hyperparameters: Hyperparameters, replicas: int) -> tuple[Source, np.ndarray, Hyperparameters]:
    """Loads the images, hides labels, and fills in the hyper-parameters that depend on both."""
    source = load_data(hyperparameters)
    if source.train.channels != hyperparameters.channels:
        allowed = f"have a value per channel, {source.train.channels}"
        raise ValueError(f"--pixel_mean must {allowed}. Received: {hyperparameters.pixel_mean}")
    if isinstance(source.train, StreamedImageSet):
        boxes_of(hyperparameters.recipe)
    labels = visible_labels(
        source.train,
        labels_per_class=hyperparameters.labels_per_class,
        label_fraction=hyperparameters.label_fraction,
        label_list=hyperparameters.label_list,
        seed=hyperparameters.label_seed,
    )
    num_labelled = int((labels != NO_LABEL).sum())
    resolved = hyperparameters.resolved(num_images=len(labels), num_labelled=num_labelled, replicas=replicas)
    return source, labels, resolved


def build_model(hyperparameters: Hyperparameters, num_classes: int, *, jit_compile: bool) -> tf.keras.Model:
    """Makes a model with its optimiser, all variables in place; call it in the strategy's scope."""
    tf.keras.utils.set_random_seed(hyperparameters.seed)
    model = METHODS[hyperparameters.method](hyperparameters, num_classes)
    schedule = schedules.WarmupCosine(
        peak=hyperparameters.peak_learning_rate,
        warmup_steps=hyperparameters.warmup_steps,
        total_steps=hyperparameters.steps,
    )
    optimiser = make_optimiser(
        hyperparameters.optimiser,
        learning_rate_schedule=schedule,
        weight_decay=hyperparameters.weight_decay,
        momentum=hyperparameters.momentum,
        trust_coefficient=hyperparameters.trust_coefficient,
    )
    optimiser.build(model.trained_variables())
    model.compile(optimizer=optimiser, jit_compile=jit_compile)
    model.distribute_reduction_method = "first"  # what a step reports is of the global batch; Keras would add it up
    return model


def _distributed(pipeline: Pipeline, devices: tf.distribute.Strategy, first_step: int) -> tf.data.Dataset:
    """Feeds every replica its share of each batch."""

    def feed(context: tf.distribute.InputContext) -> tf.data.Dataset:
        per_pipeline = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * per_pipeline
        replicas = range(first, first + per_pipeline)
        return pipeline.batches(first_step=first_step, num_replicas=context.num_replicas_in_sync, replicas=replicas)

    return devices.distribute_datasets_from_function(feed)


def _announce(
    hyperparameters: Hyperparameters,
    workdir: pathlib.Path,
    devices: tf.distribute.Strategy,
    source: Source,
    num_labelled: int,
    first_step: int,
) -> None:
    where = f"{devices.num_replicas_in_sync} replica(s), {type(devices).__name__}"
    print(
        f"{hyperparameters.method} on {hyperparameters.data}: {len(source.train)} images, {num_labelled} labelled, "
        f"{len(source.class_names)} classes; {where}; TensorBoard: tensorboard --logdir {workdir}",
        flush=True,
    )
    if first_step == hyperparameters.steps:
        print(f"finished already: all {first_step} steps are done, nothing is trained", flush=True)
    elif first_step:
        print(f"going on from step {first_step} of {hyperparameters.steps}", flush=True)


def main(argv: list[str]) -> int:
    """Runs from flags.

    Returns:
        The exit code: 0 done, or stopped by SIGTERM; 2 wrong flags; 3 not a number; 4 a full disk; 130 Ctrl-C.
    """
    del argv
    tf.get_logger().setLevel("ERROR")  # Keras complains of slow callbacks, for one
    tf.config.experimental.enable_op_determinism()
    try:
        with Termination() as termination:
            pretrain(
                hyperparameters_from_flags(),
                pathlib.Path(run_flags.WORKDIR.value),
                strategy_name=_STRATEGY.value,
                jit_compile=_JIT_COMPILE.value,
                checkpoint_every=_CHECKPOINT_EVERY.value,
                log_every=_LOG_EVERY.value,
                termination=termination,
            )
    except callbacks.Terminated:
        print(STOPPED, flush=True)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from the last checkpoint", 130)
    except callbacks.NotFinite as error:
        return _fail(str(error), 3)
    except checkpoints.NotWritten as error:
        return _fail(str(error), 4)
    except (ValueError, OSError) as error:
        return _fail(str(error), 2)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def run() -> None:
    """Is the console script."""
    app.run(main, flags_parser=run_flags.parse)


if __name__ == "__main__":
    run()
