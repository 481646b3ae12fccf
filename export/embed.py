"""Embeds and classifies many pictures with an exported model: into Parquet files, a CSV file of predictions, or both.

python -m semppl.export.embed --model=served/digits/1 --data=folder:pictures --out=embeddings
python -m semppl.export.embed --model=served/digits/1 --data=folder:pictures --predictions=predictions.csv
python -m semppl.export.embed --model=served/digits/1 --data=folder:pictures --out=embeddings --engine=ray --ray_workers=2

With --out, an interrupted run can be resumed. With --engine=beam, flags that are not defined here are passed to Beam.
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import tqdm
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.wording import counted
from semppl.programs import command_line, model_flags, quiet
from semppl.programs.batch_size_flag import BatchSize
from semppl.programs.data_flags import data_from_flags
from semppl.programs.extras import require_extra

BATCH_SIZE = BatchSize(64, "Number of pictures per batch.")
_SHARD_SIZE = flags.DEFINE_integer(
    "shard_size",
    10_000,
    "Maximum number of pictures per Parquet file, and per task of a worker.",
    lower_bound=1,
)
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "CSV file to write: path, class, probability and abstain of each picture."
)
_ENGINE = flags.DEFINE_enum(
    "engine", "local", ["local", "beam", "ray"], "What runs the workers: this process, Apache Beam, or Ray."
)
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", "", "Address of a Ray cluster, HOST:PORT or auto; empty starts Ray on this machine."
)
_RAY_WORKERS = flags.DEFINE_integer(
    "ray_workers",
    0,
    "Number of workers of --engine=ray; 0 for one per GPU, or one per machine of a cluster without GPUs.",
    lower_bound=0,
)
for _name in ("model", "data", "out"):
    flags.declare_key_flag(_name)  # --help shows it


def _parse(argv: list[str]) -> list[str]:
    """Parses the command line; with --engine=beam, unknown flags are left to Beam."""
    alone = flags.FlagValues()
    alone["engine"] = flags.FLAGS["engine"]
    with contextlib.suppress(flags.Error):  # reported below
        alone(argv, known_only=True)
    parse = command_line.parse_known if alone["engine"].value == "beam" else command_line.parse
    return parse(argv)


def _check_engine() -> None:
    """Checks that the flags of an engine come with that engine, and that its packages are installed."""
    if _ENGINE.value != "ray":
        for flag in (_RAY_ADDRESS, _RAY_WORKERS):
            if flag.present:
                raise ValueError(f"--{flag.name} must come with --engine=ray. Received: --engine={_ENGINE.value}")
    if _ENGINE.value != "local":
        require_extra(_ENGINE.value)


quiet.parse_flags(
    __name__,
    required=["model"],
    define=BATCH_SIZE.define,
    check=_check_engine,
    arguments=lambda: _ENGINE.value == "beam",
    parser=_parse,
)

from semppl.export.collections.collection import open_collections
from semppl.export.collections.embeddings import describe, summary, write_predictions
from semppl.export.collections.engines.engine import Engine, LocalEngine
from semppl.export.collections.engines.output_folder import OutputFolder, plan_parts
from semppl.export.collections.engines.worker import Job
from semppl.export.model.assets import read_card, read_class_names


def embed(
    model: str | pathlib.Path,
    reading: dict[str, Any],
    out: str | pathlib.Path,
    *,
    batch_size: int = 64,
    shard_size: int = 10_000,
    engine: Engine | None = None,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Writes `part-00000.parquet` and so on, each file when it is complete, and the manifest after the last of these.

    A row per picture has the columns id (position), path (or name), truth (name of the true class), and the outputs of the model's
    `serving_default`. All pictures of a file are of one source, in the order of the data.

    Args:
        model: Folder of an exported model, visible to every worker.
        reading: `data`, visible to every worker, and hyper-parameters that say how to read it; the others are those of the model's
            run.
        out: Folder to write, a path or a URI of a file system of Arrow's, visible to every worker; must be new, or written by an
            interrupted run of the same command, with any engine.
        batch_size: Number of pictures per batch.
        shard_size: Maximum number of pictures per file.
        engine: Engine that runs the workers; by default, this process.
        say: Callback that receives the number of finished pictures and of all, at the start and whenever more are finished.

    Returns:
        The number of pictures, and how many of these are unreadable.

    Raises:
        ValueError: if there is no model or no picture, `out` was written by another command, or the engine lost rows.
    """
    card, engine, folder = read_card(model), engine or LocalEngine(), OutputFolder(str(out))
    settings = dataclasses.replace(Hyperparameters.from_dict(card["hyperparameters"]), **reading)
    collections = open_collections(settings)
    parts = plan_parts(collections, shard_size)
    manifest = describe(model, card, settings, collections) | {"shard_size": shard_size}
    folder.begin(manifest)
    missing = folder.missing(parts)
    total = int(manifest["pictures"])
    done = total - sum(map(len, missing))
    say(done, total)

    def finished(pictures: int) -> None:
        nonlocal done
        done += pictures
        say(done, total)

    if missing:
        engine.run(Job(str(model), settings, manifest["pictures_sha256"], str(out), batch_size), missing, finished)
    return total, folder.finish(parts, engine.flag)


def _progress() -> Callable[[int, int], None]:
    """Returns a callback that shows a progress bar with speed and remaining time."""
    bars: list[tqdm.tqdm] = []

    def say(done: int, total: int) -> None:
        if not bars:  # `initial` keeps finished files out of the speed
            bars.append(tqdm.tqdm(desc="embedded", total=total, initial=done, unit=" pictures", mininterval=0.5))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars[0].close()

    return say


def _engine(options: list[str]) -> Engine:
    """Returns the engine that the flags name; `options` are those of Beam and its runner."""
    if _ENGINE.value == "beam":
        from semppl.export.collections.engines.beam_engine import BeamEngine

        return BeamEngine(options)
    if _ENGINE.value == "ray":
        from semppl.export.collections.engines.ray_engine import RayEngine

        return RayEngine(_RAY_ADDRESS.value, _RAY_WORKERS.value)
    return LocalEngine()


def _check_outputs() -> None:
    """Checks where the results go before the work begins."""
    out, predictions = model_flags.OUT.value, _PREDICTIONS.value
    if not (out or predictions):
        raise ValueError("--out must be a folder, or --predictions a file. Received: neither")
    if not out and _ENGINE.value != "local":
        raise ValueError(f"--engine={_ENGINE.value} must come with an --out that all workers see. Received: no --out")
    if not predictions:
        return
    if "://" in (out or ""):
        raise ValueError(f"--predictions must come with an --out that is a local path. Received: {out}")
    read_card(str(model_flags.MODEL.value))  # a folder without a model has no memory either
    if not read_class_names(pathlib.Path(str(model_flags.MODEL.value))):
        raise ValueError(
            "--predictions must come with a --model that has a memory of labelled images. Received: "
            f"{model_flags.MODEL.value}"
        )
    if not pathlib.Path(predictions).parent.is_dir():
        raise ValueError(f"--predictions must be a file in an existing folder. Received: {predictions}")


@quiet.program
def main(argv: list[str]) -> int:
    """Embeds the pictures that the flags name; returns the exit code."""
    _check_outputs()
    model, predictions = str(model_flags.MODEL.value), _PREDICTIONS.value
    settings = {"batch_size": BATCH_SIZE.value, "shard_size": _SHARD_SIZE.value}
    with contextlib.ExitStack() as afterwards:
        out = str(model_flags.OUT.value or afterwards.enter_context(tempfile.TemporaryDirectory()))
        engine = _engine(argv[1:])
        count, unreadable = embed(model, data_from_flags(), out, engine=engine, say=_progress(), **settings)
        if model_flags.OUT.value:
            print(summary(count, unreadable, out))
        if predictions:
            write_predictions(out, predictions)
            but = f"; {unreadable} of them could not be read" if unreadable else ""
            print(f"predictions of {counted(count, 'picture')} written to {predictions}{but}")
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
