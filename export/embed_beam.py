"""Embeds many pictures as `semppl.export.embed` does, on many machines: an Apache Beam pipeline.

python -m semppl.export.embed_beam --model=served/digits/1 --data=folder:pictures --out=embeddings --runner=DirectRunner

Flags that are not ours go to Beam.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.collections.collection import Collection, open_collections
from semppl.export.collections.embeddings import MANIFEST, describe, summary
from semppl.export.collections.rows import Answerer, make_table
from semppl.export.model.assets import read_card
from semppl.programs import model_flags
from semppl.programs.extras import require_extra
from semppl.programs.hyperparameter_flags import data_from_flags

_PICTURES_AT_A_TIME = 64
_LOCAL = (None, "DirectRunner")

_FILES = flags.DEFINE_integer("files", 0, "Parquet files to write; 0: as many as Beam finds good.", lower_bound=0)
for _name in ("model", "data", "out"):
    flags.declare_key_flag(_name)  # --help shows it


def embed(
    model: str | pathlib.Path,
    reading: dict[str, Any],
    out: str,
    *,
    options: Sequence[str] = (),
    files: int = 0,
    batch_size: int = _PICTURES_AT_A_TIME,
) -> tuple[int, int]:
    """Writes the rows that `semppl.export.embed.embed` writes, in no order; the manifest last, when they are whole.

    Args:
        model: folder of an exported model, where every worker sees it.
        reading: `data`, where every worker sees it, and other settings of a run that say how it is read.
        out: folder to write, new, on any file system that Beam knows.
        options: Beam's, such as `--runner=DataflowRunner`.
        files: Parquet files to write; 0: as many as Beam finds good.
        batch_size: pictures at a time.

    Returns:
        How many pictures there are, and how many of them could not be read.

    Raises:
        ValueError: if the extra `beam` is missing, there is no model or no picture, or `out` is there already.
    """
    require_extra("beam")
    import apache_beam as beam
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.io.parquetio import WriteToParquetBatched
    from apache_beam.metrics.metric import MetricsFilter
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from semppl.export.collections.beam_transform import UNREADABLE, Embed, Span

    card = read_card(model)
    settings = dataclasses.replace(Hyperparameters.from_dict(card["hyperparameters"]), **reading)
    collections = open_collections(settings)
    manifest = describe(model, card, settings, collections)
    if FileSystems.exists(FileSystems.join(out, MANIFEST)):
        raise ValueError(f"--out must be a new folder. Received: {out}")
    if any(match.metadata_list for match in FileSystems.match([FileSystems.join(out, "*part-*")])):
        raise ValueError(
            f"--out must be a new folder. Received: {out}, with parts of a run that did not end; remove it"
        )
    schema = make_table([0], [""], [""], Answerer(model)([b""])).schema
    beam_options = PipelineOptions(list(options))
    known = beam_options.get_all_options()
    unknown = sorted(set(beam_options.get_all_options(retain_unknown_options=True)) - set(known))
    if unknown:
        raise ValueError(f"Flags must be this program's or Beam's. Received: --{', --'.join(unknown)}")
    # What DirectRunner runs here; by itself it would look for its successor, Prism, on the internet.
    runner = FnApiRunner() if beam_options.view_as(StandardOptions).runner in _LOCAL else None
    with beam.Pipeline(runner=runner, options=beam_options) as pipeline:
        spans = pipeline | beam.Create([Span(*span) for span in plan_spans(collections, batch_size)])
        tables = (
            spans
            | beam.Reshuffle()
            | beam.ParDo(Embed(str(model), manifest["hyperparameters"], manifest["pictures_sha256"]))
        )
        tables | WriteToParquetBatched(
            FileSystems.join(out, "part"), schema, file_name_suffix=".parquet", num_shards=files
        )
    with FileSystems.create(FileSystems.join(out, MANIFEST)) as file:
        file.write((json.dumps(manifest, indent=2) + "\n").encode())
    counters = pipeline.result.metrics().query(MetricsFilter().with_name(UNREADABLE))["counters"]
    return int(manifest["pictures"]), sum(counter.result for counter in counters)


def plan_spans(collections: Sequence[Collection], batch_size: int) -> list[tuple[int, int, int, int]]:
    """Cuts collections into the fields of spans."""
    spans, offset = [], 0
    for number, collection in enumerate(collections):
        for first in range(0, len(collection), batch_size):
            spans.append((number, first, min(first + batch_size, len(collection)), offset))
        offset += len(collection)
    return spans


@quiet.takes_arguments
@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    count, unreadable = embed(
        str(model_flags.MODEL.value),
        data_from_flags(),
        str(model_flags.OUT.value),
        options=argv[1:],
        files=_FILES.value,
    )
    print(summary(count, unreadable, str(model_flags.OUT.value)))
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flags_as_required(["model", "out"])
    quiet.run(main, flags_parser=lambda argv: flags.FLAGS(argv, known_only=True))


if __name__ == "__main__":
    run()
