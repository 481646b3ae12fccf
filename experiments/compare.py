r"""Compares methods on the same images, labels, encoder and steps: curves over the number of labels, a table and a page.

python -m semppl.experiments.compare --preset=digits --labels_per_class=1,4 --seeds=3 --workdir=outputs/comparison
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import pathlib
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from absl import flags

from semppl.configs.family import FamilySettings
from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.setting import adding_origin
from semppl.configs.wording import counted
from semppl.experiments.comparison import plan
from semppl.programs import hyperparameter_flags, quiet, run_flags
from semppl.programs.experiments import seeds_flag
from semppl.programs.presets import names_given
from semppl.programs.setting_flags import require_left_out, value_of_flag

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(hyperparameter_flags)
flags.adopt_module_key_flags(seeds_flag)

_METHODS = flags.DEFINE_list(
    "methods",
    None,
    f"Comma-separated methods, of {', '.join(plan.METHODS)}. The frozen encoder is always among them. By default frozen, "
    "supervised, no_semantic_positives, semppl; with --train=heads frozen, semppl_heads.",
)

_METHOD_STEPS = flags.DEFINE_list(
    "method_steps",
    [],
    "Comma-separated METHOD:STEPS, such as simclr:9000,semppl:4500: number of steps of single methods, to compare methods at equal "
    "time. All other methods take --steps.",
)

_TRAINING = "semppl.trainers.pretrain"
_SEEDS = 3
_DEFAULTS = {
    "all": ("supervised", "no_semantic_positives", "semppl"),
    "heads": ("semppl_heads",),
    "nothing": (),
}
"""Methods beside the frozen encoder, by the part of the networks that the shared settings train."""

_FAMILY = {field.name: field.default for field in dataclasses.fields(FamilySettings)}
"""Settings of single methods, with their defaults."""

_NOT_SHARED = {"seed": "seeds", "label_seed": "seeds", "method": "methods"}


class LabelBudgets:
    """The flag --labels_per_class, here a list; in every other program, it is one number."""

    def define(self, flag_values: flags.FlagValues = flags.FLAGS) -> None:
        """Defines the flag, in place of the number."""
        flags.DEFINE_list(
            "labels_per_class",
            [],
            "Comma-separated numbers of labelled images per class; by default, the labels that the data give.",
            flag_values=flag_values,
            allow_override=True,
        )


LABELS_PER_CLASS = LabelBudgets()


@dataclasses.dataclass(frozen=True)
class Request:
    """What is compared.

    Attributes:
        shared: Settings that all runs share.
        methods: Keys of METHODS.
        budgets: Numbers of labelled images per class, ascending; 0: the labels that the data give.
        seeds: Seeds.
        own: Settings of single methods, by name.
        steps: Length of the runs of single methods, in steps, in place of the shared length.
        given: ("inference_size",) if it was set outside the preset: then it stays whatever the views of a method.
    """

    shared: Hyperparameters
    methods: Sequence[str]
    budgets: Sequence[int]
    seeds: Sequence[int]
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    given: Collection[str] = ()


def request_from_flags() -> Request:
    """Returns the values of the flags.

    Raises:
        ValueError: If a value is not allowed, in one line that names the flag.
    """
    budgets = _budgets(flags.FLAGS["labels_per_class"].value or [])
    names = {field.name for field in dataclasses.fields(Hyperparameters)} - {"labels_per_class"}
    values: dict[str, Any] = {name: value_of_flag(name) for name in sorted(names)}
    require_left_out(_NOT_SHARED)
    seeds = seeds_flag.seeds_from_flag(default=_SEEDS)
    if len(seeds) == 1:
        allowed = "2 or more, since methods differ by chance from seed to seed; 3 or more for a statement about that"
        raise ValueError(f"--seeds must be {allowed}. Received: 1")
    methods = plan.check_methods(_METHODS.value or _DEFAULTS.get(values["train"], ()))
    own = {name: values.pop(name) for name in _FAMILY if values[name] != _FAMILY[name]}
    shared = Hyperparameters(**values, labels_per_class=budgets[0])
    steps = plan.steps_by_name(
        _METHOD_STEPS.value, flag="method_steps", kind="METHOD", example="simclr:9000,semppl:4500"
    )
    plan.plan(shared, pathlib.Path(), methods=methods, seeds=seeds[:1], budgets=budgets, own=own, steps=steps)
    given = sorted({"inference_size"} & names_given(sys.argv))
    return Request(shared, methods, budgets, seeds, own, steps, given)


def _budgets(texts: Sequence[str]) -> list[int]:
    try:
        budgets = sorted({int(text) for text in texts})
    except ValueError:
        budgets = [0]
    if texts and budgets[0] < 1:
        raise ValueError(
            f"--labels_per_class must be whole numbers from 1 on, with commas between. Received: {','.join(texts)}"
        )
    return budgets or [0]


def _take_flags_of_training() -> None:
    """Lists in --help the flags of training that are not settings, and makes --labels_per_class a list."""
    flags.adopt_module_key_flags(sys.modules[_TRAINING])
    LABELS_PER_CLASS.define()


quiet.parse_flags(
    __name__,
    required=["workdir"],
    define=_take_flags_of_training,
    check=request_from_flags,
    flags_of=_TRAINING,
)

from semppl.trainers import pretrain  # parses the flags

# isort: split
from semppl.experiments.comparison import preparation, results, trainings
from semppl.experiments.comparison.hparams import write_hparams
from semppl.experiments.comparison.page import Comparison, page
from semppl.runs.files import write_atomically
from semppl.runs.folder import held
from semppl.trainers.methods import find_method
from semppl.trainers.reports.progress import duration


class Report:
    """Collects results as runs end, and writes them each time, so that a killed comparison has those of the runs before.

    Args:
        workdir: Folder of all runs.
        request: What is compared.
        prepared: All runs, and the held-out images to evaluate on.
        command: Command line, for the page.

    Attributes:
        started: Time at which the first training started, by `time.monotonic`.
        failed: Runs that failed.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        request: Request,
        prepared: preparation.Prepared,
        *,
        command: str,
    ) -> None:
        self._workdir = workdir
        self._request = request
        self._prepared = prepared
        self._command = command
        self._start = request.shared.initial_weights or request.shared.initial_run
        self._results: dict[plan.Training, results.Result] = {}
        self._durations: dict[str, list[float]] = {}
        self.started = time.monotonic()
        self.failed: list[plan.Training] = []

    def ended(self, run: plan.Training, seconds: float, code: int) -> None:
        """Evaluates a run that ended, or prints the log of one that failed, and shows the progress over all runs."""
        if code:
            self.failed.append(run)
            trainings.print_log(run)
            print(f"• failed with exit code {code}: {run.title}; log: {run.log}", flush=True)
        else:
            self.judge(run)
            self.write()
        self._durations.setdefault(run.method, []).append(seconds)
        print(f"• {self._progress()}: {run.title}, {duration(seconds)}", flush=True)

    def judge(self, run: plan.Training) -> None:
        """Evaluates a finished run."""
        self._results[run] = results.judge(run, split=self._prepared.split, digest=self._prepared.digest)

    def _progress(self) -> str:
        left = [run.method for run in self._prepared.runs if run not in self._results and run not in self.failed]
        seconds = plan.remaining_seconds(time.monotonic() - self.started, self._durations, left)
        remaining = f", about {duration(seconds)} left" if left else ""
        return f"{len(self._prepared.runs) - len(left)} of {counted(len(self._prepared.runs), 'run')}{remaining}"

    def _judged(self) -> list[results.Result]:
        return [self._results[run] for run in self._prepared.runs if run in self._results]

    def write(self) -> None:
        """Writes `results.csv` and `results.json`."""
        summary = {
            "command": self._command,
            "images": self._prepared.images,
            "images_sha256": self._prepared.digest,
            "runs": len(self._prepared.runs),
            "failed": [run.folder.name for run in self.failed],
            "settings": self._request.shared.identity(),
            "method_steps": dict(self._request.steps),
        }
        results.write_results(self._workdir, self._judged(), summary)

    def write_page(self) -> None:
        """Writes `comparison.html`, and the runs for TensorBoard's HParams dashboard."""
        judged = self._judged()
        shown = Comparison(
            rows=results.rows_of(judged),
            start=self._start,
            settings=dataclasses.asdict(self._prepared.runs[-1].settings),
            changes={run.method: run.changes for run in self._prepared.runs},
            planned=len(self._prepared.runs),
            done=len(judged),
            failed=[run.title for run in self.failed],
            seeds=self._request.seeds,
            images=self._prepared.images,
            command=self._command,
        )
        write_atomically(self._workdir / "comparison.html", page(shown))
        write_hparams(self._workdir, {run: self._results[run] for run in self._prepared.runs if run in self._results})

    def lines(self) -> list[str]:
        """Returns the table and the differences, for a terminal."""
        rows = results.rows_of(self._judged())
        if not rows:
            return ["No run ended well."]
        titles = [
            f"{results.method_in_words(row.method, self._start)}, {results.classifier_in_words(row.classifier)}"
            for row in rows
        ]
        budgets = self._request.budgets
        cells = [[results.cell(list(row.values.get(budget, {}).values())) for budget in budgets] for row in rows]
        header = [plan.labels_in_words(budget) for budget in budgets]
        table = results.table_lines(list(zip(titles, cells, strict=True)), header)
        differences = results.difference_lines(results.compare_methods(rows), self._start)
        return [f"\nAccuracy on {self._prepared.images}: mean (lowest–highest seed)\n", *table, "", *differences]


def compare(
    request: Request, workdir: pathlib.Path, *, options: Sequence[str] = (), command: str = ""
) -> list[plan.Training]:
    """Trains, evaluates and compares; runs in `workdir` that are finished are not trained again, others go on.

    Args:
        request: What is compared.
        workdir: Folder of all runs, and of `results.csv`, `results.json` and `comparison.html`.
        options: Arguments of the training program that are not settings.
        command: Command line, for the page.

    Returns:
        The runs that failed.

    Raises:
        ValueError: Before the first run, if a setting does not suit the data, there are no held-out images, or `workdir` holds
            another comparison, or another process compares there.
    """
    planned = plan.plan(
        request.shared,
        workdir,
        methods=request.methods,
        seeds=request.seeds,
        budgets=request.budgets,
        own=request.own,
        steps=request.steps,
    )
    for run in planned:
        with adding_origin(f"in the runs of --methods={run.method}"):
            pretrain.check_names(preparation.settled(run, request.given).settings)
    prepared = preparation.prepare(planned, request.given)
    plan.require_same_settings(workdir, request.shared)
    with held(workdir):
        plan.require_same_runs(prepared.runs)
        report = Report(workdir, request, prepared, command=command)
        _run(report, prepared.runs, request, options)
    return report.failed


def _run(report: Report, runs: Sequence[plan.Training], request: Request, options: Sequence[str]) -> None:
    """Trains the runs that are not finished, evaluates all, and prints the table."""
    waiting = [run for run in runs if not run.finished]
    counts = (
        f"{counted(len(request.methods), 'method')} × {len(request.budgets)} × {counted(len(request.seeds), 'seed')}"
    )
    for warning in sorted({find_method(run.settings.method).warning(run.settings) for run in waiting} - {""}):
        print(f"warning: {warning}", flush=True)
    print(
        f"• {counted(len(runs), 'run')} ({counts}), {len(runs) - len(waiting)} finished; logs in {runs[0].folder.parent}",
        flush=True,
    )
    for run in runs:
        if run.finished:
            print(f"• trained before: {run.title}", flush=True)
            report.judge(run)
    report.started = time.monotonic()
    trainings.train_side_by_side(waiting, report.ended, options=options)
    report.write()
    report.write_page()
    print("\n".join(report.lines()))


def _options_of_training() -> list[str]:
    """Returns the flags of training that are set on the command line and are not settings, as arguments."""
    own = flags.FLAGS.flags_by_module_dict()[_TRAINING]
    return [argument for flag in own if flag.present for argument in flag.serialize().splitlines()]


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags.

    Returns:
        The exit code: 0; 1 if a run failed; 2 for wrong flags.
    """
    del argv
    workdir = pathlib.Path(run_flags.WORKDIR.value)
    command = shlex.join(["semppl-compare", *sys.argv[1:]])
    failed = compare(request_from_flags(), workdir, options=_options_of_training(), command=command)
    print(f"\n  page     {workdir / 'comparison.html'}")
    print(f"  figures  {workdir / 'results.csv'}, {workdir / 'results.json'}")
    print(f"  curves   tensorboard --logdir {workdir}")
    if failed:
        print(f"error: failed: {', '.join(run.folder.name for run in failed)}; see above", file=sys.stderr)
    return int(bool(failed))


def run() -> None:
    """Runs the program from the console."""
    quiet.run(main)


if __name__ == "__main__":
    run()
