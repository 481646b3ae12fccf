"""Trains an encoder on many images and a few labels: one run, from flags to `done.json`.

python -m semppl.trainers.pretrain --flagfile=configs/digits.flags --workdir=outputs/digits
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
from collections.abc import Callable

from semppl.programs import quiet  # before TensorFlow

if __name__ == "__main__":  # before TensorFlow is imported, which takes seconds
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import numpy as np
import tensorflow as tf
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.files.lost_pictures import naming_lost_pictures
from semppl.data.images import NO_LABEL, Source
from semppl.data.pipeline import Pipeline
from semppl.data.splits import load_data, require_shrinkable
from semppl.data.streaming import StreamedImageSet, boxes_of
from semppl.data.views.recipes import RECIPES
from semppl.layers.encoders.registry import check_encoder
from semppl.programs import hyperparameter_flags, run_flags
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags
from semppl.runs import checkpoints
from semppl.trainers.devices import strategy, workers
from semppl.trainers.devices.termination import STOPPED, Termination
from semppl.trainers.initial_encoder import check_initial_run, start_from_initial_run
from semppl.trainers.method import Method
from semppl.trainers.optimisers import schedules
from semppl.trainers.optimisers.registry import OPTIMISERS, make_optimiser
from semppl.trainers.reports import callbacks, profiling
from semppl.trainers.reports.progress import Progress
from semppl.trainers.semppl import SemPPL
from semppl.trainers.supervised import Supervised

METHODS: dict[str, Callable[[Hyperparameters, int], Method]] = {"semppl": SemPPL, "supervised": Supervised}

# --help lists these flags too.
flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
_STRATEGY = flags.DEFINE_string(
    "strategy",
    "auto",
    "Devices: auto, default (one), mirrored (all of this machine), multiworker (all that TF_CONFIG names), tpu.",
)
_TPU = flags.DEFINE_string("tpu", "", "Name or grpc:// address of a TPU; local: of this machine; empty: TPU_NAME says.")
_WORKER_PATIENCE = flags.DEFINE_float(
    "worker_patience", 600.0, "Seconds that the other workers of TF_CONFIG have to start.", lower_bound=1.0
)
_JIT_COMPILE = flags.DEFINE_string("jit_compile", "auto", "XLA: auto (TPU and GPU, not CPU), true, false.")
_STEPS_PER_EXECUTION = flags.DEFINE_integer(
    "steps_per_execution", 1, "Steps taken at once, without a look in between: for a TPU.", lower_bound=1
)
_CHECKPOINT_EVERY = flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
_LOG_EVERY = flags.DEFINE_integer(
    "log_every", 10, "Steps between reports to TensorBoard and metrics.jsonl.", lower_bound=1
)
_PROFILE_STEPS = flags.DEFINE_string(
    "profile_steps", "", "FIRST,LAST: steps whose profile TensorBoard shows, with tensorboard-plugin-profile."
)


def pretrain(
    hyperparameters: Hyperparameters,
    workdir: pathlib.Path,
    *,
    strategy_name: str = "auto",
    tpu: str = "",
    worker_patience: float = 600,
    jit_compile: str = "auto",
    steps_per_execution: int = 1,
    checkpoint_every: int = 500,
    log_every: int = 10,
    profile_steps: str = "",
    termination: Termination | None = None,
) -> None:
    """Trains, or goes on training, to the end of the run.

    Args:
        hyperparameters: what to do.
        workdir: folder of the run.
        strategy_name: which devices, see `strategy.choose`.
        tpu: address of a TPU; see there.
        worker_patience: seconds that other workers have to start.
        jit_compile: whether XLA compiles the step: auto, true or false.
        steps_per_execution: steps taken at once. Reports and checkpoints then come when that is over.
        checkpoint_every: steps between checkpoints.
        log_every: steps between reports.
        profile_steps: `FIRST,LAST` step to profile, or nothing.
        termination: tells when to stop early.

    Raises:
        ValueError: before the first step, if something that was asked for cannot be.
        NotFinite: if a term or a weight is no longer a number.
        WorkerLost: if another worker does not answer.
        PictureLost: if a picture is gone or damaged when it is needed.
        NotWritten: if the disk is full.
        Terminated: when asked to stop, after saving.
    """
    check_names(hyperparameters)
    check_initial_run(hyperparameters)
    termination = termination or Termination()
    name, why = strategy.choose(strategy_name, tpu)
    devices = strategy.make_strategy(name, tpu=tpu, worker_patience=worker_patience)
    termination.listen_again()
    compiled = strategy.compiles(jit_compile, devices)
    source, labels, hyperparameters = prepare_data(hyperparameters, devices.num_replicas_in_sync)
    profiled = profiling.parse_steps(profile_steps, hyperparameters.steps)
    chief = workers.is_chief(devices)
    with (
        workers.noticing_losses(devices),
        naming_lost_pictures(),
        checkpoints.open_run(workdir, hyperparameters) if chief else contextlib.nullcontext(),
        contextlib.ExitStack() as afterwards,
    ):
        with devices.scope():
            model = build_model(
                hyperparameters, len(source.class_names), jit_compile=compiled, steps_per_execution=steps_per_execution
            )
        saved = checkpoints.RunCheckpoints(model, workdir)
        first_step, last_step = (saved.restore() if chief else saved.read()), hyperparameters.steps
        if first_step == 0 and hyperparameters.initial_run:
            start_from_initial_run(model, hyperparameters)
        data = checkpoints.describe_data(source.train.names, labels)
        if chief:
            checkpoints.require_same_data(workdir, data, begun=first_step > 0)
        workers.require_agreement(
            devices,
            {
                "the step to begin at": first_step,
                "images and labels": data,
                "--steps_per_execution": steps_per_execution,
                "--jit_compile": compiled,
            }
            | {f"--{name}": value for name, value in dataclasses.asdict(hyperparameters).items()},
            f"--workdir must be one folder that all workers see, and their flags be alike. Received: {workdir}; "
            "on this worker, and not on all: ",
        )
        where = f"{strategy.describe(devices)} ({why})"
        if chief:
            _announce(hyperparameters, workdir, where, source, int((labels != NO_LABEL).sum()), first_step)
        else:
            print(f"{where}; from step {first_step} to {last_step}; the chief writes and reports", flush=True)
        if first_step < last_step:
            pipeline = Pipeline(source.train, labels, hyperparameters)
            watchers: list[tf.keras.callbacks.Callback] = [callbacks.StopOnNotFinite()]
            if chief:
                progress = Progress(
                    first_step=first_step,
                    last_step=last_step,
                    batch_size=hyperparameters.batch_size,
                    waited=(lambda: model.seconds_waiting) if steps_per_execution == 1 else None,
                )
                afterwards.callback(progress.leave)
                summaries = callbacks.Summaries(
                    workdir,
                    first_step=first_step,
                    last_step=last_step,
                    every=log_every,
                    class_names=source.class_names,
                    warn=progress.say,
                )
                summaries.views(_first_share(pipeline, devices, first_step), first_step)
                checkpointing = callbacks.Checkpointing(
                    saved, every=checkpoint_every, last_step=last_step, termination=termination
                )
                watchers += [summaries, progress, checkpointing]
                if profiled:
                    profile = profiling.Profile(workdir, *profiled, steps_at_once=steps_per_execution)
                    afterwards.callback(profile.end)
                    watchers.insert(0, profile)
            else:
                watchers += [workers.Following(termination)]
            model.fit(
                _distributed(pipeline, devices, first_step),
                steps_per_epoch=last_step - first_step,
                callbacks=watchers,
                verbose=0,
            )
        afterwards.close()
        if chief:
            digest = checkpoints.write_done(workdir, last_step, checkpoints.latest_checkpoint(workdir))
            print(f"done: {last_step} steps, weights {digest[:12]}…, in {workdir}", flush=True)
        else:
            print(f"done: {last_step} steps", flush=True)


def check_names(hyperparameters: Hyperparameters) -> None:
    """Looks up the names that hyper-parameters give to code.

    Raises:
        ValueError: for an unknown name, with the flag and the names that there are.
    """
    check_encoder(hyperparameters.encoder, called="--encoder")
    for flag, names in (("method", METHODS), ("recipe", RECIPES), ("optimiser", OPTIMISERS)):
        name = getattr(hyperparameters, flag)
        if name not in names:
            raise ValueError(f"--{flag} must be one of {', '.join(sorted(names))}. Received: {name}")


def prepare_data(hyperparameters: Hyperparameters, replicas: int) -> tuple[Source, np.ndarray, Hyperparameters]:
    """Loads the images, hides labels, and fills in the hyper-parameters that depend on both."""
    require_shrinkable(hyperparameters)
    data = load_data(hyperparameters)
    source, labels = data.source, data.labels
    if source.train.channels != hyperparameters.channels:
        allowed = f"{source.train.channels}, with --pixel_mean and --pixel_stddev to match, for these images"
        raise ValueError(f"--channels must be {allowed}. Received: {hyperparameters.channels}")
    if isinstance(source.train, StreamedImageSet):
        boxes_of(hyperparameters.recipe)
    num_labelled = int((labels != NO_LABEL).sum())
    resolved = hyperparameters.resolved(num_images=len(labels), num_labelled=num_labelled, replicas=replicas)
    return source, labels, resolved


def build_model(
    hyperparameters: Hyperparameters, num_classes: int, *, jit_compile: bool, steps_per_execution: int = 1
) -> Method:
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
    model.compile(optimizer=optimiser, jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    return model


def _distributed(pipeline: Pipeline, devices: tf.distribute.Strategy, first_step: int) -> tf.data.Dataset:
    """Feeds every replica its share of each batch; a worker makes those of its own replicas only."""
    if strategy.finishes_views(devices):
        pipeline = dataclasses.replace(pipeline, finish_on_device=True)

    def feed(context: tf.distribute.InputContext) -> tf.data.Dataset:
        per_pipeline = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * per_pipeline
        replicas = range(first, first + per_pipeline)
        batches = pipeline.batches(first_step=first_step, num_replicas=context.num_replicas_in_sync, replicas=replicas)
        return (
            batches.repeat()
        )  # without an end: else workers ask each other whether there is more, and shapes are open

    return devices.distribute_datasets_from_function(feed)


def _first_share(pipeline: Pipeline, devices: tf.distribute.Strategy, first_step: int) -> dict[str, np.ndarray]:
    """Makes what one replica gets first: of the shape that training compiles anyway."""
    share = pipeline.batches(first_step=first_step, num_replicas=devices.num_replicas_in_sync)
    views: dict[str, np.ndarray] = next(share.as_numpy_iterator())
    return views


def _announce(
    hyperparameters: Hyperparameters,
    workdir: pathlib.Path,
    where: str,
    source: Source,
    num_labelled: int,
    first_step: int,
) -> None:
    print(
        f"{hyperparameters.method} on {hyperparameters.data}: {len(source.train)} images, {num_labelled} labelled, "
        f"{len(source.class_names)} classes; {hyperparameters.steps} steps; {where}; "
        f"TensorBoard: tensorboard --logdir {workdir}",
        flush=True,
    )
    if first_step == hyperparameters.steps:
        print(f"finished already: all {first_step} steps are done, nothing is trained", flush=True)
    elif first_step:
        print(f"going on from step {first_step} of {hyperparameters.steps}", flush=True)


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags.

    Returns:
        The exit code: 0 done, or stopped by SIGTERM; 2 wrong flags; 3 not a number; 4 a full disk; 5 another
        worker lost; 130 Ctrl-C.
    """
    del argv
    tf.config.experimental.enable_op_determinism()
    try:
        with Termination() as termination:
            pretrain(
                hyperparameters_from_flags(),
                pathlib.Path(run_flags.WORKDIR.value),
                strategy_name=_STRATEGY.value,
                tpu=_TPU.value,
                worker_patience=_WORKER_PATIENCE.value,
                jit_compile=_JIT_COMPILE.value,
                steps_per_execution=_STEPS_PER_EXECUTION.value,
                checkpoint_every=_CHECKPOINT_EVERY.value,
                log_every=_LOG_EVERY.value,
                profile_steps=_PROFILE_STEPS.value,
                termination=termination,
            )
    except callbacks.Terminated:
        print(STOPPED, flush=True)
    except workers.WorkerLost as error:
        if not termination.asked:
            return _fail(str(error), workers.WORKER_LOST)
        print(STOPPED, flush=True)  # as the lost one was: SIGTERM comes to all workers
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; the same command goes on from the last checkpoint", 130)
    except callbacks.NotFinite as error:
        return _fail(str(error), 3)
    except checkpoints.NotWritten as error:
        return _fail(str(error), 4)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def run() -> None:
    """Is the console script."""
    quiet.run(main, flags_parser=run_flags.parse)


if __name__ == "__main__":
    run()
