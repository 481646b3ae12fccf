"""The engine Apache Beam: workers on whatever a runner of Beam's offers, such as Dataflow, Flink or Spark."""

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner

from semppl.export.collections.engines.output_folder import Part
from semppl.export.collections.engines.worker import Job, write_part

_LOCAL = (None, "DirectRunner")


class BeamEngine:
    """Writes the parts of a job in a pipeline.

    Args:
        options: Options of Beam and of its runner, such as `--runner=DataflowRunner`.

    Raises:
        ValueError: if an option is unknown, or the runner is not installed.
    """

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = _parsed(options)
        self._name = self._options.view_as(StandardOptions).runner

    @property
    def flag(self) -> str:
        """The flags that chose the engine, for errors."""
        return f"--engine=beam --runner={self._name or _LOCAL[1]}"

    def run(self, job: Job, parts: Sequence[Part], say: Callable[[int], None]) -> None:
        """Writes parts of a job; `say` is called once, at the end."""
        # The local runner of DirectRunner, which by itself would look for its successor, Prism, on the internet.
        runner = FnApiRunner() if self._name in _LOCAL else None
        with beam.Pipeline(runner=runner, options=self._options) as pipeline:
            pipeline | beam.Create(parts) | beam.Reshuffle() | beam.Map(write_part, job)
        say(sum(map(len, parts)))


def _parsed(options: Sequence[str]) -> Any:
    """Parses options of Beam and of its runner; refuses unknown ones."""
    runner = PipelineOptions(list(options)).view_as(StandardOptions).runner
    if runner not in _LOCAL:
        try:
            create_runner(runner)  # imports the runner's module, which defines its options
        except (ValueError, ImportError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"--runner must be one that is installed. Received: {runner} ({reason})") from error
    parsed = PipelineOptions(list(options))
    unknown = sorted(set(parsed.get_all_options(retain_unknown_options=True)) - set(parsed.get_all_options()))
    if unknown:
        raise ValueError(f"Flags must be this program's or Beam's. Received: --{', --'.join(unknown)}")
    return parsed
