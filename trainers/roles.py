"""What a process of a run does beside training: the chief writes and reports, the others follow."""

import contextlib
import dataclasses
import datetime
import pathlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.similar_names import similar_pairs
from semppl.configs.wording import counted
from semppl.data.images import Source
from semppl.programs import menu
from semppl.runs import checkpoints, compatible_run, folder, training_time
from semppl.runs.data_record import Description, require_same_data
from semppl.trainers.devices.termination import Termination
from semppl.trainers.devices.workers import Following
from semppl.trainers.method import Method
from semppl.trainers.methods import find_method
from semppl.trainers.reports import callbacks, profiling
from semppl.trainers.reports.examination import Examination, Examine
from semppl.trainers.reports.progress import Progress
from semppl.trainers.reports.views_grid import ViewsOfAFew
from semppl.trainers.run_options import RunOptions

_MOST_PAIRS = 5  # of classes, in a warning


@dataclasses.dataclass(frozen=True)
class Stage:
    """The part of a run that one process trains, from a checkpoint to the end.

    Attributes:
        hyperparameters: Settings of the run, resolved for its data.
        source: Images, their ground truth and class names.
        labels: `[n]` int32 visible label of each training image; NO_LABEL where hidden.
        data: Description of the training images and labels; see `describe_data`.
        model: Built and compiled model, restored to `first_step`.
        saved: Checkpoints of the model.
        first_step: Number of steps taken before.
        devices: Strategy in whose scope the model was built.
        where: Description of the devices.
    """

    hyperparameters: Hyperparameters
    source: Source
    labels: np.ndarray
    data: Description
    model: Method
    saved: checkpoints.RunCheckpoints
    first_step: int
    devices: tf.distribute.Strategy
    where: str

    @property
    def last_step(self) -> int:
        """Number of steps of the whole run."""
        return self.hyperparameters.steps


class Chief:
    """The process that owns the run's folder: it saves, reports and shows progress.

    Args:
        workdir: Folder of the run.
        options: Options of this execution.
        termination: Source of requests to stop early.
    """

    def __init__(self, workdir: pathlib.Path, options: RunOptions, termination: Termination) -> None:
        self._workdir = workdir
        self._options = options
        self._termination = termination

    @contextlib.contextmanager
    def opened(self, hyperparameters: Hyperparameters, data: Description) -> Iterator[None]:
        """Keeps other processes out of the run's folder, and refuses other settings or data; see `open_run`."""

        def check_data() -> None:
            require_same_data(self._workdir, data, begun=checkpoints.has_checkpoint(self._workdir))

        with folder.open_run(self._workdir, hyperparameters, check_data=check_data):
            check_data()
            former = folder.record_paths(self._workdir, hyperparameters)  # where the data lie now
            if former and checkpoints.has_checkpoint(self._workdir):
                print(f"--data was {former}: names and labels are the same; pixels are not compared", flush=True)
            yield

    def restore(self, saved: checkpoints.RunCheckpoints) -> int:
        """Removes what a killed save left, restores the latest checkpoint and records what is trained; returns the step, or 0."""
        folder.write_trained_parts(self._workdir, saved.model.trained_parts)
        self._termination.saved = saved.restore()
        return self._termination.saved

    def record_start(self, description: dict[str, Any]) -> None:
        """Writes where the initial weights come from."""
        folder.write_initial_weights(self._workdir, description)

    def record_compatible(self, description: dict[str, Any]) -> None:
        """Writes the record of the older run with which the embeddings are compatible."""
        compatible_run.write_record(self._workdir, description)

    def announce(self, stage: Stage) -> None:
        """Prints what is trained on what, and where it starts."""
        settings = stage.hyperparameters
        print(
            f"{settings.method} on {settings.data}: {counted(stage.data['images'], 'image')}, {stage.data['labelled']:,} labelled, "
            f"{counted(len(stage.source.class_names), 'class')}; {counted(settings.steps, 'step')}; {stage.where}; "
            f"TensorBoard: " + shlex.join(["tensorboard", "--logdir", str(self._workdir / "tensorboard")]),
            flush=True,
        )
        if pairs := similar_pairs(stage.source.class_names):
            alike = ", ".join(f"{name!r} and {other!r}" for name, other in pairs[:_MOST_PAIRS])
            print(
                f"warning: classes with nearly the same name, each trained as a class of its own: {alike}", flush=True
            )
        if warning := find_method(settings.method).warning(settings):
            print(f"warning: {warning}", flush=True)
        if not stage.last_step:
            print("no steps: nothing is trained", flush=True)
        elif stage.first_step == stage.last_step:
            print(f"finished already: all {counted(stage.first_step, 'step')} are done, nothing is trained", flush=True)
        elif stage.first_step:
            print(f"going on from step {stage.first_step:,} of {stage.last_step:,}", flush=True)

    @contextlib.contextmanager
    def watching(self, stage: Stage) -> Iterator[list[tf.keras.callbacks.Callback]]:
        """Makes the callbacks that profile, report, show progress and save.

        Args:
            stage: What is about to be trained.

        Yields:
            The callbacks, in their order; a profile and the progress bar end with the context.
        """
        steps_at_once = self._options.steps_per_execution
        with contextlib.ExitStack() as afterwards:
            progress = Progress(
                first_step=stage.first_step,
                last_step=stage.last_step,
                batch_size=stage.hyperparameters.batch_size,
                waited=(lambda: stage.model.seconds_waiting) if steps_at_once == 1 else None,
            )
            afterwards.callback(progress.leave)
            training_time.record_start(self._workdir, stage.first_step, stage.where, _now())
            afterwards.callback(lambda: training_time.record_end(self._workdir, stage.saved.step, _now()))
            summaries = callbacks.Summaries(
                self._workdir,
                first_step=stage.first_step,
                last_step=stage.last_step,
                every=self._options.log_every,
                class_names=stage.source.class_names,
                warn=progress.say,
            )
            views = callbacks.ShowViews(
                ViewsOfAFew(stage.source.train, stage.hyperparameters),
                summaries.views,
                first_step=stage.first_step,
                last_step=stage.last_step,
            )
            checkpointing = callbacks.Checkpointing(
                stage.saved,
                every=self._options.checkpoint_every,
                minutes=self._options.checkpoint_minutes,
                last_step=stage.last_step,
                termination=self._termination,
            )
            watchers = [callbacks.StopOnNotFinite(), summaries, views, progress, checkpointing]
            if "min_vote_share" in stage.model.uses(stage.hyperparameters):
                idle = callbacks.WarnOfIdlePseudoLabels(
                    min_vote_share=stage.hyperparameters.min_vote_share,
                    first_step=stage.first_step,
                    last_step=stage.last_step,
                    warn=progress.say,
                )
                watchers.insert(3, idle)
            if not isinstance(stage.devices, tf.distribute.TPUStrategy):  # whose variables are read inside a step alone
                watchers.insert(1, self._examine(stage, summaries, progress))
            profiled = profiling.parse_steps(self._options.profile_steps, stage.last_step)
            if profiled:
                profile = profiling.Profile(self._workdir, *profiled, steps_at_once=steps_at_once)
                afterwards.callback(profile.end)
                watchers.insert(0, profile)
            yield watchers

    def _examine(self, stage: Stage, summaries: callbacks.Summaries, progress: Progress) -> Examine:
        examination = Examination(stage.model, stage.source, stage.labels)
        return Examine(
            examination,
            examination.findings(),
            summaries.add,
            lambda step: summaries.distributions(examination.distributions(), step),
            every=self._options.eval_every,
            first_step=stage.first_step,
            last_step=stage.last_step,
            say=progress.say,
        )

    def save_untrained(self, saved: checkpoints.RunCheckpoints) -> None:
        """Saves the initial weights of a run of no steps."""
        saved.save()

    def finish(self, stage: Stage) -> None:
        """Writes `done.json`, and prints the digest of the weights and the commands that come next."""
        digest = checkpoints.weights_sha256(checkpoints.latest_checkpoint(self._workdir))
        folder.write_done(self._workdir, stage.last_step, digest)
        print(f"done: {counted(stage.last_step, 'step')}, weights {digest[:12]}…, in {self._workdir}", flush=True)
        print("next:", *self._next_commands(stage.source, stage.hyperparameters), sep="\n  ", flush=True)

    def _next_commands(self, source: Source, hyperparameters: Hyperparameters) -> list[str]:
        """Returns command lines that evaluate the run, on a test set of the user's if none was held out, and export it."""
        run = f"--workdir={self._workdir}"
        splits = [split for split in ("test", "validation") if getattr(source, split) is not None]
        later = ["--test=folder:TEST_PICTURES?labels=folders"] * (not splits)
        evaluates = menu.command(
            "evaluate", run, *[f"--split={split}" for split in splits[:1] if split != "test"], *later
        )
        answers = ["--embedding=joint", "--answers=auto"] if checkpoints.has_labelled_queue(self._workdir) else []
        if answers and (hyperparameters.nested_dims or hyperparameters.compatible_with):
            answers[0] = "--embedding=projections"  # which are nested, or compatible
        served = pathlib.Path("served", re.sub(r"[*?\[\]\\]", "_", self._workdir.resolve().name))
        versions = [int(path.name) for path in served.glob("*") if path.name.isdecimal()]
        export = menu.command("export", run, *answers, f"--export_dir={served / str(max(versions, default=0) + 1)}")
        return [evaluates, export] if source.class_names else [export]  # without classes nothing can be right or wrong


class Follower:
    """Any other worker: it reads the run's folder, trains, and leaves saving and reports to the chief.

    Args:
        termination: Source of requests to stop early.
    """

    def __init__(self, termination: Termination) -> None:
        self._termination = termination

    def opened(self, hyperparameters: Hyperparameters, data: Description) -> contextlib.AbstractContextManager[None]:
        """Leaves the folder to the chief, whose data are compared with this worker's."""
        return contextlib.nullcontext()

    def restore(self, saved: checkpoints.RunCheckpoints) -> int:
        """Restores the latest checkpoint; returns its step, or 0."""
        return saved.read()

    def record_start(self, description: dict[str, Any]) -> None:
        """Leaves the record to the chief."""

    def record_compatible(self, description: dict[str, Any]) -> None:
        """Leaves the record to the chief."""

    def announce(self, stage: Stage) -> None:
        """Prints where this worker starts."""
        steps = f"from step {stage.first_step} to {stage.last_step}"
        print(f"{stage.where}; {steps}; the chief writes and reports", flush=True)

    @contextlib.contextmanager
    def watching(self, stage: Stage) -> Iterator[list[tf.keras.callbacks.Callback]]:
        """Makes the callbacks that stop at a NaN or infinity and leave a SIGTERM to the chief."""
        yield [callbacks.StopOnNotFinite(), Following(self._termination)]

    def save_untrained(self, saved: checkpoints.RunCheckpoints) -> None:
        """Leaves saving to the chief."""

    def finish(self, stage: Stage) -> None:
        """Prints that training is over."""
        print(f"done: {counted(stage.last_step, 'step')}", flush=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
