"""Embeds many pictures on many machines, with Apache Beam; the rows are those of `semppl.export.embed`.

python -m semppl.export.embed_beam --model=served/digits/1 --data=folder:pictures --out=embeddings --runner=DirectRunner

Flags that are not defined here are passed to Beam.
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.programs import command_line, model_flags, quiet
from semppl.programs.data_flags import data_from_flags
from semppl.programs.extras import require_extra
from semppl.runs.files import require_plain

_FILES = flags.DEFINE_integer("files", 0, "Number of Parquet files; 0 lets Beam choose.", lower_bound=0)
for _name in ("model", "data", "out"):
    flags.declare_key_flag(_name)  # --help shows it

quiet.parse_flags(__name__, required=["model", "out"], arguments=True, parser=command_line.parse_known)

import pyarrow.parquet as pq

from semppl.export.collections.collection import Span, open_collections, plan_spans
from semppl.export.collections.embeddings import MANIFEST, describe, summary
from semppl.export.collections.rows import Answerer, make_table
from semppl.export.model.assets import read_card

_PICTURES_AT_A_TIME = 64
_LOCAL = (None, "DirectRunner")


def embed(
    model: str | pathlib.Path,
    reading: dict[str, Any],
    out: str,
    *,
    options: Sequence[str] = (),
    files: int = 0,
    batch_size: int = _PICTURES_AT_A_TIME,
) -> tuple[int, int]:
    """Writes the rows of `semppl.export.embed.embed` in any order, and the manifest after the last of these.

    Args:
        model: Folder of an exported model, visible to every worker.
        reading: `data`, visible to every worker, and hyper-parameters that say how to read it.
        out: Folder to write, new, on any file system that Beam supports.
        options: Options of Beam, such as `--runner=DataflowRunner`.
        files: Number of Parquet files; 0 lets Beam choose.
        batch_size: Number of pictures per batch.

    Returns:
        The number of pictures, and how many of these are unreadable.

    Raises:
        ValueError: if the extra `beam` is missing, there is no model or no picture, or `out` exists.
    """
    require_extra("beam")
    from apache_beam.io.filesystems import FileSystems

    card = read_card(model)
    settings = dataclasses.replace(Hyperparameters.from_dict(card["hyperparameters"]), **reading)
    collections = open_collections(settings)
    manifest = describe(model, card, settings, collections)
    _require_new(out)
    _run(model, manifest, plan_spans(collections, batch_size), out, options, files)
    count, unreadable = _count_rows(out)
    if count != manifest["pictures"]:
        raise ValueError(
            f"--runner must write a row per picture. Received: {counted(count, 'row')} of "
            f"{counted(manifest['pictures'], 'picture')} in {out}, which is "
            "not whole: remove the folder, and choose another runner, for example --runner=DirectRunner"
        )
    with FileSystems.create(FileSystems.join(out, MANIFEST)) as file:
        file.write((json.dumps(manifest, indent=2) + "\n").encode())
    return int(manifest["pictures"]), unreadable


def _require_new(out: str) -> None:
    """Checks that a folder has no manifest and no Parquet files, and that Beam, which reads paths as patterns, finds it again."""
    from apache_beam.io.filesystems import FileSystems

    require_plain(out, "out")
    if FileSystems.exists(FileSystems.join(out, MANIFEST)):
        raise ValueError(f"--out must be a new folder. Received: {out}")
    if any(match.metadata_list for match in FileSystems.match([FileSystems.join(out, "*part-*")])):
        raise ValueError(
            f"--out must be a new folder. Received: {out}, with parts of a run that did not end; remove it"
        )


def _parsed(options: Sequence[str]) -> Any:
    """Parses options of Beam and of its runner; refuses unknown ones."""
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.runner import create_runner

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


def _run(
    model: str | pathlib.Path,
    manifest: dict[str, Any],
    spans: Sequence[Span],
    out: str,
    options: Sequence[str],
    files: int,
) -> None:
    """Runs the pipeline to its end."""
    import apache_beam as beam
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.io.parquetio import WriteToParquetBatched
    from apache_beam.options.pipeline_options import StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from semppl.export.collections.beam_transform import Embed

    schema = make_table([0], [""], [""], Answerer(model)([b""])).schema
    parsed = _parsed(options)
    # The local runner of DirectRunner, which by itself would look for its successor, Prism, on the internet.
    runner = FnApiRunner() if parsed.view_as(StandardOptions).runner in _LOCAL else None
    embed_spans = Embed(str(model), manifest["hyperparameters"], manifest["pictures_sha256"])
    write = WriteToParquetBatched(FileSystems.join(out, "part"), schema, file_name_suffix=".parquet", num_shards=files)
    with beam.Pipeline(runner=runner, options=parsed) as pipeline:
        pipeline | beam.Create(spans) | beam.Reshuffle() | beam.ParDo(embed_spans) | write


def _count_rows(out: str) -> tuple[int, int]:
    """Counts the rows that were written, and those of unreadable pictures; not every runner keeps counters."""
    from apache_beam.io.filesystems import FileSystems

    count = readable = 0
    for part in FileSystems.match([FileSystems.join(out, "part-*.parquet")])[0].metadata_list:
        with FileSystems.open(part.path, compression_type="uncompressed") as file:
            valid = pq.read_table(file, columns=["valid"])["valid"].to_numpy()
        count, readable = count + len(valid), readable + int(valid.sum())
    return count, count - readable


@quiet.program
def main(argv: list[str]) -> int:
    """Embeds the pictures that the flags name; returns the exit code."""
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
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
