"""Trains an encoder on many images and a few labels: one run, from flags to `done.json`.

python -m semppl.trainers.pretrain --preset=digits --workdir=outputs/digits
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import pathlib
import sys
from collections.abc import Collection

import numpy as np
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.programs import hyperparameter_flags, quiet, run_flags
from semppl.programs.hyperparameter_flags import hyperparameters_from_flags
from semppl.programs.presets import names_given

# --help lists these flags too.
flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
_STRATEGY = flags.DEFINE_string(
    "strategy",
    "auto",
    "Devices: auto, default (one), mirrored (all of this machine), multiworker (all that TF_CONFIG names), tpu.",
)
_TPU = flags.DEFINE_string(
    "tpu", "", "Name or grpc:// address of a TPU; local: of this machine; empty: named by TPU_NAME."
)
_WORKER_PATIENCE = flags.DEFINE_float(
    "worker_patience", 600.0, "Seconds that the other workers of TF_CONFIG have to start.", lower_bound=1.0
)
_JIT_COMPILE = flags.DEFINE_string("jit_compile", "auto", "XLA: auto (TPU and GPU, not CPU), true, false.")
_STEPS_PER_EXECUTION = flags.DEFINE_integer(
    "steps_per_execution", 1, "Steps per call of the training function, for a TPU.", lower_bound=1
)
_CHECKPOINT_EVERY = flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1)
_CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    2.0,
    "Minutes after a checkpoint after which the next step is saved, whatever its number; 0: only every --checkpoint_every.",
    lower_bound=0.0,
)
_LOG_EVERY = flags.DEFINE_integer(
    "log_every", 10, "Steps between reports to TensorBoard and metrics.jsonl.", lower_bound=1
)
_EVAL_EVERY = flags.DEFINE_integer(
    "eval_every",
    0,
    "Steps between evaluations on held-out images, with the health of the embeddings; 0: a tenth of --steps, at least 100.",
    lower_bound=0,
)
_PROFILE_STEPS = flags.DEFINE_string(
    "profile_steps", "", "FIRST,LAST steps to profile for TensorBoard, which needs tensorboard-plugin-profile."
)

quiet.parse_flags(__name__, check=hyperparameters_from_flags)

import tensorflow as tf

from semppl.data.cached_views import CachedViews
from semppl.data.files.lost_pictures import naming_lost_pictures
from semppl.data.images import NO_LABEL, Source
from semppl.data.pipeline import Pipeline
from semppl.data.splits import load_data, require_shrinkable, require_two_classes
from semppl.data.streaming import StreamedImageSet
from semppl.data.views.recipes import boxes_of, check_recipe
from semppl.layers.blocks.normalisation import NORMALISATIONS
from semppl.layers.blocks.precision import PRECISIONS
from semppl.layers.encoders.registry import check_checkpointing, check_encoder, check_pictures
from semppl.runs import compatible_run, initial_weights
from semppl.runs.checkpoints import RunCheckpoints, has_checkpoint
from semppl.runs.data_record import describe_data
from semppl.runs.files import require_plain
from semppl.runs.folder import NotWritten
from semppl.runs.pretrained import PretrainedWeights
from semppl.trainers.devices import strategy, workers
from semppl.trainers.devices.termination import Termination
from semppl.trainers.method import Method
from semppl.trainers.methods import check_batch, find_method, resolve, settle
from semppl.trainers.optimisers import schedules
from semppl.trainers.optimisers.registry import check_optimiser, make_optimiser
from semppl.trainers.pretrained import initial_encoder
from semppl.trainers.pretrained.cached_features import FeatureCache, statistics
from semppl.trainers.reports import callbacks, profiling
from semppl.trainers.roles import Chief, Follower, Stage
from semppl.trainers.run_options import RunOptions

_REGISTRIES: dict[str, Collection[str]] = {
    "norm": NORMALISATIONS,
    "precision": PRECISIONS,
}
"""The names that a hyper-parameter may have; encoders, optimisers and recipes have checks of their own."""
_DEFAULTS = RunOptions()


def pretrain(
    hyperparameters: Hyperparameters,
    workdir: pathlib.Path,
    options: RunOptions = _DEFAULTS,
    *,
    termination: Termination | None = None,
) -> None:
    """Trains a run from its latest checkpoint, or from the start, to its last step.

    Args:
        hyperparameters: Settings of the run.
        workdir: Folder of the run.
        options: Devices, intervals of reports and checkpoints, and other options of this execution.
        termination: Source of requests to stop early; by default there are none.

    Raises:
        ValueError: Before the first step, if a setting or an option cannot be used.
        NotFinite: if a loss term or a weight is NaN or Inf.
        WorkerLost: If another worker does not answer.
        PictureLost: If a picture is gone or damaged when it is needed.
        NotWritten: if the disk is full.
        Terminated: after a request to stop, when the state is saved.
    """
    require_plain(workdir, "workdir")
    check_names(hyperparameters)
    initial_encoder.check_initial_run(hyperparameters)
    initial_weights.check_initial_weights(hyperparameters)
    compatible_run.check_compatible_run(hyperparameters, workdir)
    termination = termination or Termination()
    choice = strategy.choose(options.strategy, options.tpu)
    devices = strategy.make_strategy(
        choice.name, cluster=choice.cluster, tpu=options.tpu, worker_patience=options.worker_patience
    )
    termination.listen_again()
    compiled = strategy.compiles(options.jit_compile, devices)
    initial_encoder.check_frozen_stages(hyperparameters)
    downloads = hyperparameters.initial_weights == initial_weights.IMAGENET
    weights = None if downloads else _initial_weights(hyperparameters, workdir)  # a wrong file before long work
    source, labels, hyperparameters = prepare_data(hyperparameters, devices.num_replicas_in_sync)
    weights = _initial_weights(hyperparameters, workdir) if downloads else weights  # nothing is fetched for wrong data
    profiling.parse_steps(options.profile_steps, hyperparameters.steps)
    data = describe_data(source.train.names, labels, source.class_names)
    role = Chief(workdir, options, termination) if choice.cluster.is_chief else Follower(termination)
    with workers.noticing_losses(choice.cluster), naming_lost_pictures(), role.opened(hyperparameters, data):
        with devices.scope():
            model = build_model(
                hyperparameters,
                len(source.class_names),
                jit_compile=compiled,
                steps_per_execution=options.steps_per_execution,
            )
        saved = RunCheckpoints(model, workdir)
        stage = Stage(
            hyperparameters=hyperparameters,
            source=source,
            labels=labels,
            data=data,
            model=model,
            saved=saved,
            first_step=role.restore(saved),
            devices=devices,
            where=f"{strategy.describe(devices, choice.cluster)} ({choice.why})",
        )
        _begin(stage, role, weights)
        _require_agreement(stage, choice.cluster, options)
        role.announce(stage)
        if stage.first_step < stage.last_step:
            _fit(stage, role)
        elif not stage.last_step:
            role.save_untrained(saved)
        role.finish(stage)


def _initial_weights(hyperparameters: Hyperparameters, workdir: pathlib.Path) -> PretrainedWeights | None:
    """Reads `--initial_weights` for a new run; an old one goes on from its checkpoint."""
    if not hyperparameters.initial_weights or has_checkpoint(workdir):
        return None
    return initial_weights.read_initial_weights(hyperparameters)


def _begin(stage: Stage, role: Chief | Follower, weights: PretrainedWeights | None) -> None:
    """Starts a new run from its initial run or weights."""
    if stage.first_step == 0:
        if stage.hyperparameters.initial_run:
            initial_encoder.start_from_initial_run(stage.model, stage.hyperparameters)
        else:
            initial_encoder.fit_whitening(stage.model, stage.source.train, stage.hyperparameters)
        if weights is not None:
            initial_encoder.start_from_weights(stage.model, weights)
        if stage.hyperparameters.initial_run or weights is not None:
            role.record_start(initial_encoder.describe_start(stage.hyperparameters, weights))
        if stage.hyperparameters.compatible_with:
            role.record_compatible(compatible_run.describe_run(stage.hyperparameters.compatible_with))


def _require_agreement(stage: Stage, cluster: workers.Cluster, options: RunOptions) -> None:
    """Refuses workers that would train something else, or from another step."""
    settings = {
        "the step to begin at": stage.first_step,
        "images and labels": stage.data,
        "--steps_per_execution": options.steps_per_execution,
        "--jit_compile": stage.model.jit_compile,
    } | {f"--{name}": value for name, value in stage.hyperparameters.identity().items()}
    workers.require_agreement(
        cluster,
        stage.devices,
        settings,
        f"--workdir must be one folder that all workers see, and their flags be alike. Received: {stage.saved.workdir}; "
        "on this worker, and not on all: ",
    )


def _fit(stage: Stage, role: Chief | Follower) -> None:
    """Takes the steps that are left."""
    images = _features(stage) if stage.model.trains_heads else stage.source.train
    pipeline = Pipeline(images, stage.labels, stage.hyperparameters)
    with role.watching(stage) as watchers:
        stage.model.fit(
            _distributed(pipeline, stage.devices, stage.first_step),
            steps_per_epoch=stage.last_step - stage.first_step,
            callbacks=watchers,
            verbose=0,
        )


def _features(stage: Stage) -> CachedViews:
    """Computes the features of cached views; a new run standardises by their statistics."""
    settings, workdir = stage.hyperparameters, stage.saved.workdir
    flag, folder = ("cache_dir", settings.cache_dir) if settings.cache_dir else ("workdir", workdir / "features")
    cache = FeatureCache(stage.source.train, settings, stage.model.online, pathlib.Path(folder), flag=flag)
    views = cache.load()
    if stage.first_step == 0:
        stage.model.scale_features(*statistics(views.features))
    return views


def check_names(hyperparameters: Hyperparameters) -> None:
    """Looks up every name that the hyper-parameters give to code, and validates what depends on the method.

    Raises:
        ValueError: For an unknown name, with the flag and the allowed names; if a batch is too small for the method.
    """
    check_encoder(hyperparameters.encoder, called="--encoder")
    sizes = {"large_size": hyperparameters.large_size}
    if hyperparameters.small_views:
        sizes["small_size"] = hyperparameters.small_size
    if hyperparameters.inference_size:
        sizes["inference_size"] = hyperparameters.inference_size
    check_pictures(
        hyperparameters.encoder,
        width=hyperparameters.width,
        widths=hyperparameters.widths,
        pixel_mean=hyperparameters.pixel_mean,
        sizes=sizes,
    )
    if hyperparameters.gradient_checkpointing:
        check_checkpointing(hyperparameters.encoder)
    check_recipe(hyperparameters.recipe)
    check_optimiser(hyperparameters.optimiser, called="--optimiser")
    for flag, names in _REGISTRIES.items():
        name = getattr(hyperparameters, flag)
        if name not in names:
            raise ValueError(f"--{flag} must be one of {', '.join(sorted(names))}. Received: {name}")
    check_batch(hyperparameters)
    find_method(hyperparameters.method).check_settings(hyperparameters)


def prepare_data(hyperparameters: Hyperparameters, replicas: int) -> tuple[Source, np.ndarray, Hyperparameters]:
    """Loads the images, hides labels, and fills in the hyper-parameters that depend on both."""
    require_shrinkable(hyperparameters)
    data = load_data(hyperparameters)
    source, labels = data.source, data.labels
    require_two_classes(source.class_names)
    if source.train.channels != hyperparameters.channels:
        allowed = f"{source.train.channels}, with --pixel_mean and --pixel_stddev to match, for these images"
        raise ValueError(f"--channels must be {allowed}. Received: {hyperparameters.channels}")
    if isinstance(source.train, StreamedImageSet):
        boxes_of(hyperparameters.recipe)
    num_labelled = int((labels != NO_LABEL).sum())
    resolved = resolve(hyperparameters, num_images=len(labels), num_labelled=num_labelled, replicas=replicas)
    if hyperparameters.labelled_batch_size not in (0, resolved.labelled_batch_size):
        given, rows = hyperparameters.labelled_batch_size, resolved.labelled_batch_size
        why, share = ("every image has a label", ", the whole batch") if rows else ("no image has a label", "")
        print(f"{why}: --labelled_batch_size is {rows}{share}, not {given}", flush=True)
    return source, labels, resolved


def build_model(
    hyperparameters: Hyperparameters, num_classes: int, *, jit_compile: bool, steps_per_execution: int = 1
) -> Method:
    """Makes a model with its optimiser and all variables; call it in the strategy's scope."""
    tf.keras.utils.set_random_seed(hyperparameters.seed)
    model = find_method(hyperparameters.method)(hyperparameters, num_classes)
    schedule = schedules.WarmupCosine(
        peak=hyperparameters.peak_learning_rate,
        warmup_steps=hyperparameters.warmup_steps,
        total_steps=max(hyperparameters.steps, 1),  # a run of no steps takes none of this one either
    )
    optimiser = make_optimiser(
        hyperparameters.optimiser,
        learning_rate_schedule=schedule,
        weight_decay=hyperparameters.weight_decay,
        momentum=hyperparameters.momentum,
        trust_coefficient=hyperparameters.trust_coefficient,
    )
    optimiser.build(model.trained_variables())
    optimiser.multiply_rate(model.online.encoder.trainable_variables, hyperparameters.encoder_rate_factor)
    model.compile(optimizer=optimiser, jit_compile=jit_compile, steps_per_execution=steps_per_execution)
    return model


def _distributed(pipeline: Pipeline, devices: tf.distribute.Strategy, first_step: int) -> tf.data.Dataset:
    """Feeds every replica its share of each batch; a worker makes the shares of its own replicas only."""
    if strategy.finishes_views(devices):
        pipeline = dataclasses.replace(pipeline, finish_on_device=True)

    def feed(context: tf.distribute.InputContext) -> tf.data.Dataset:
        per_pipeline = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * per_pipeline
        replicas = range(first, first + per_pipeline)
        batches = pipeline.batches(first_step=first_step, num_replicas=context.num_replicas_in_sync, replicas=replicas)
        return batches.repeat()  # endless: else workers ask each other for more, and shapes are open

    return devices.distribute_datasets_from_function(feed)


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags.

    Returns:
        The exit code: 0 done; 2 wrong flags; 3 NaN or Inf; 4 a full disk; 5 another worker lost; 128 and the number of the
        signal that stopped the run: 143 for SIGTERM, 130 for Ctrl-C, 129 for a closed terminal.
    """
    del argv
    tf.config.experimental.enable_op_determinism()
    try:
        with Termination() as termination:
            workdir = pathlib.Path(run_flags.WORKDIR.value)
            pretrain(
                settle(hyperparameters_from_flags(), given=names_given(sys.argv), workdir=workdir),
                workdir,
                _options_from_flags(),
                termination=termination,
            )
    except callbacks.Terminated:
        return _stopped(termination)
    except workers.WorkerLost as error:
        if not termination.asked:
            return _fail(str(error), workers.WORKER_LOST)
        return _stopped(termination)  # so was the lost worker: the signal comes to all
    except callbacks.NotFinite as error:
        return _fail(str(error), 3)
    except NotWritten as error:
        return _fail(str(error), 4)
    return 0


def _options_from_flags() -> RunOptions:
    return RunOptions(
        strategy=_STRATEGY.value,
        tpu=_TPU.value,
        worker_patience=_WORKER_PATIENCE.value,
        jit_compile=_JIT_COMPILE.value,
        steps_per_execution=_STEPS_PER_EXECUTION.value,
        checkpoint_every=_CHECKPOINT_EVERY.value,
        checkpoint_minutes=_CHECKPOINT_MINUTES.value,
        log_every=_LOG_EVERY.value,
        eval_every=_EVAL_EVERY.value,
        profile_steps=_PROFILE_STEPS.value,
    )


def _stopped(termination: Termination) -> int:
    print(termination.message(), flush=True)
    return termination.exit_code


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
