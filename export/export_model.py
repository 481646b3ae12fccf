"""Exports a run as a SavedModel for TensorFlow Serving, or for plain TensorFlow.

python -m semppl.export.export_model --workdir=outputs/digits --export_dir=served/digits/1
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import dataclasses
import functools
import importlib.metadata
import json
import pathlib
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

import semppl
from semppl.configs.choices import ANSWERS, AUTO, DTYPES, VOTE
from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.memory.calibration import CALIBRATION_SETS, CalibrationSettings
from semppl.programs import place_flags, quiet, run_flags
from semppl.programs.answers import target_flags
from semppl.programs.extras import has_extra, needs_extra

flags.adopt_module_key_flags(run_flags)
flags.adopt_module_key_flags(place_flags)
flags.adopt_module_key_flags(target_flags)

_EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Folder to write; its name must be the version number, as in …/digits/1."
)
_EMBEDDING = flags.DEFINE_string(
    "embedding", "projections", "Embedding that the model returns: projections, features, or joint (both together)."
)
_EMBEDDING_DIMS = flags.DEFINE_integer(
    "embedding_dims", 0, "Number of leading dimensions of the embedding to use; 0: all."
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    DTYPES,
    "Type of the encoder: bfloat16 or float16 for kernels and arithmetic in 16 bits; int8 for kernels in 8 bits and arithmetic in "
    "float32.",
)
_MEMORY = flags.DEFINE_boolean(
    "memory",
    None,
    "Whether the model remembers the labelled images and classifies with them; by default, if the run has a queue of labels: "
    "SemPPL has one, the supervised baseline has none.",
)
_NUM_NEIGHBOURS = flags.DEFINE_integer(
    "num_neighbours", 10, "Number of remembered images that the signature `neighbours` returns."
)
_ANSWERS = flags.DEFINE_enum(
    "answers",
    VOTE,
    (*ANSWERS, AUTO),
    "How the model classifies: by a vote of the remembered images, by class means, by logistic regression on the remembered "
    "embeddings, or (auto) by the most accurate of the three, on the images of --calibrate_on or else by cross-validation among "
    "the labelled images.",
)
_MEMORY_VIEWS = flags.DEFINE_integer(
    "memory_views",
    1,
    "Number of views whose mean embedding stands for a remembered image: the image itself, and random large views of the run's "
    "recipe.",
)
_CALIBRATE_ON = flags.DEFINE_enum(
    "calibrate_on",
    "held_out",
    CALIBRATION_SETS,
    "Images on which answers are calibrated: held_out (half of the held-out images; the other half is measured), memory (the "
    "labelled images, each by the votes of the others), or nothing (the model never abstains).",
)
_SET_COVERAGE = flags.DEFINE_float("set_coverage", 0.9, "Share of prediction sets that contain the true class.")

_FINE_TUNABLE = flags.DEFINE_boolean(
    "fine_tunable",
    True,
    "Whether the weights are saved a second time, as variables that a hub.KerasLayer can train; only with --dtype=float32.",
)
DATA_LICENCE = "see the data set"
_DATA_LICENCE = flags.DEFINE_string("data_licence", DATA_LICENCE, "Licence of the pictures, for the model card.")

quiet.parse_flags(__name__, required=["export_dir"])

import tensorflow as tf

from semppl.export.memory.evidence import Evidence
from semppl.export.memory.judgement import summary
from semppl.export.memory.memory_views import check_views
from semppl.export.memory.run_images import RunImages, centre_crop_of
from semppl.export.model.assets import EVIDENCE, write_assets
from semppl.export.model.embedder import Embedder
from semppl.export.model.servable import AnsweringServable, Servable
from semppl.export.model.versions import new_version, serving_commands
from semppl.export.model.warmup import write_warmup
from semppl.runs import checkpoints, compatible_run
from semppl.runs.folder import read_initial_weights, unfinished

_SETTINGS = (
    _EMBEDDING,
    _EMBEDDING_DIMS,
    _DTYPE,
    _MEMORY,
    _NUM_NEIGHBOURS,
    _ANSWERS,
    _MEMORY_VIEWS,
    _CALIBRATE_ON,
    _SET_COVERAGE,
    _FINE_TUNABLE,
    _DATA_LICENCE,
)


def export(
    workdir: str | pathlib.Path,
    export_dir: str | pathlib.Path,
    *,
    embedding: str = "projections",
    embedding_dims: int = 0,
    dtype: str = "float32",
    memory: bool | None = None,
    num_neighbours: int = 10,
    answers: str = VOTE,
    memory_views: int = 1,
    calibration_settings: CalibrationSettings | None = None,
    fine_tunable: bool = True,
    data_licence: str = DATA_LICENCE,
    command: str = "",
    moved: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the latest checkpoint of a run as a SavedModel.

    Args:
        workdir: Folder of the run.
        export_dir: Folder to write, which must not exist; its name is the version number.
        embedding: "projections", "features" or "joint".
        embedding_dims: Number of leading dimensions of the embedding to use; 0 for all.
        dtype: Type of the encoder, one of `DTYPES`.
        memory: Whether the model remembers the labelled images; by default, if the run has a queue of labels.
        num_neighbours: Number of remembered images that the signature `neighbours` returns.
        answers: How the model classifies, one of `ANSWERS`, or `AUTO`.
        memory_views: Number of views whose mean embedding stands for a remembered image; at least 1.
        calibration_settings: Settings of the memory's calibration; by default those of `CalibrationSettings`.
        fine_tunable: Whether the weights are saved a second time as variables that a `hub.KerasLayer` trains; float32 only.
        data_licence: Licence of the pictures, for the model card.
        command: Command line, for the model card.
        moved: Settings, by name, of the run's data that now lie elsewhere; see `load_run_data`.

    Returns:
        The model card.

    Raises:
        ValueError: if the run, a setting or the folder is not allowed, or the run's data set cannot be read.
    """
    if answers not in (*ANSWERS, AUTO):
        raise ValueError(f"--answers must be one of {', '.join((*ANSWERS, AUTO))}. Received: {answers}")
    with new_version(export_dir, flag="--export_dir") as folder:
        hyperparameters, network, step = checkpoints.load_online(workdir)
        check_views(memory_views, hyperparameters, centre_crop=centre_crop_of(hyperparameters))
        embedder_of = functools.partial(
            Embedder, network, hyperparameters, embedding=embedding, centre_crop=centre_crop_of(hyperparameters)
        )
        embedder = embedder_of(dims=embedding_dims, dtype=dtype)
        card = _describe(workdir, dataclasses.replace(hyperparameters, **(moved or {})), step, data_licence) | {
            "command": command,
            "embedding": {"kind": embedding, "width": embedder.width, "dtype": dtype},
        }
        if hyperparameters.nested_dims:
            card["embedding"]["nested_dims"] = _nested_dims(hyperparameters, embedding, embedding_dims)
        evidence: Evidence | None = None
        servable_of: Callable[..., Servable] = functools.partial(Servable, embedder)
        if checkpoints.has_labelled_queue(workdir) if memory is None else memory:
            images = RunImages(workdir, hyperparameters, embedder.prepare, embedder.fingerprints, moved)
            evidence = images.evidence(
                embedder.embed, calibration_settings or CalibrationSettings(), views=memory_views
            ).answering(answers)
            labelled, card["memory"] = evidence.build()
            card["answers"] = evidence.compare_answers()
            score, card["ood"] = images.ood_score(embedder.features)
            card["embedding"] |= _costs(evidence, images, embedder_of, dims=embedding_dims, dtype=dtype)
            servable_of = functools.partial(AnsweringServable, embedder, labelled, score, num_neighbours=num_neighbours)
        trained = embedder_of(dims=embedding_dims, fold=False) if fine_tunable and dtype == "float32" else None
        with tempfile.TemporaryDirectory() as scratch:
            assets = write_assets(pathlib.Path(scratch), card, evidence)
            signatures = _save(servable_of(assets=assets, trained=trained), folder)
        if evidence is not None:
            evidence.save(folder / EVIDENCE)
        if has_extra("serving"):
            name = pathlib.Path(export_dir).absolute().parent.name
            write_warmup(folder, name=name, signatures=signatures, embedder=embedder)
    return card


def _nested_dims(hyperparameters: Hyperparameters, embedding: str, dims: int) -> list[int]:
    """Returns the run's `nested_dims`; warns if an export keeps a number of leading dimensions that was not trained."""
    trained = sorted({*hyperparameters.nested_dims, hyperparameters.embedding_width})
    if dims and (embedding != "projections" or dims not in trained):
        received = f"--embedding={embedding} --embedding_dims={dims}"
        listed = ", ".join(map(str, trained))
        print(
            f"warning: {received} was not trained; the run trained the first {listed} dimensions of projections",
            file=sys.stderr,
        )
    return list(hyperparameters.nested_dims)


def _costs(
    evidence: Evidence, images: RunImages, embedder_of: Callable[..., Embedder], *, dims: int, dtype: str
) -> dict[str, dict[str, float]]:
    """Measures the cost of fewer bits and of fewer dimensions, where the embedding has fewer."""
    costs = {}
    if dtype != "float32":
        exact = _embedded_by(embedder_of(dims=dims), evidence, images)
        costs["against_float32"] = evidence.compare(exact)
    if dims:
        whole = _embedded_by(embedder_of(dtype=dtype), evidence, images)
        costs["against_all_dims"] = evidence.loss_of_accuracy(whole, "accuracy_with_all_dims")
    return costs


def _embedded_by(embedder: Embedder, evidence: Evidence, images: RunImages) -> Evidence:
    """Returns the evidence that another embedder gives, with the same settings."""
    return images.evidence(embedder.embed, evidence.settings, views=evidence.views).answering(evidence.answers)


def _save(servable: Servable, folder: pathlib.Path) -> list[str]:
    """Saves a model; returns the names of its signatures."""
    print("writing the model …", file=sys.stderr, flush=True)
    signatures = servable.signatures()
    tf.saved_model.save(servable, str(folder), signatures=signatures)
    (folder / EVIDENCE).parent.mkdir()
    return list(signatures)


def _describe(
    workdir: str | pathlib.Path, hyperparameters: Hyperparameters, step: int, data_licence: str
) -> dict[str, Any]:
    """Returns the part of the model card that describes the run."""
    metrics, data = (pathlib.Path(workdir) / name for name in ("metrics.json", "data.json"))
    packages = ("tensorflow", "keras", "numpy")
    return {
        "method": hyperparameters.method,
        "data": hyperparameters.data,
        "step": step,
        "steps": hyperparameters.steps,
        "unfinished": bool(unfinished(workdir, step, hyperparameters.steps)),
        "weights_sha256": checkpoints.weights_sha256(checkpoints.latest_checkpoint(workdir)),
        "evaluation": _evaluation_at(step, metrics),
        "hyperparameters": dataclasses.asdict(hyperparameters),
        "initial_weights": read_initial_weights(workdir),
        "compatible_with": compatible_run.read_record(workdir),
        "trained_on": json.loads(data.read_text(encoding="utf-8")) if data.is_file() else None,
        "licences": {"code": "Apache-2.0", "data": data_licence},
        "versions": {"semppl": semppl.__version__} | {name: importlib.metadata.version(name) for name in packages},
    }


def _evaluation_at(step: int, metrics: pathlib.Path) -> dict[str, Any] | None:
    """Reads an evaluation; None if there is none, or another step was evaluated."""
    evaluation: dict[str, Any] = (
        json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {"step": None}
    )
    return evaluation if evaluation.get("step", step) == step else None


def export_with(
    workdir: str | pathlib.Path,
    export_dir: str | pathlib.Path,
    settings: Mapping[str, Any],
    *,
    command: str = "",
    moved: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Exports with settings by the names of the flags, and refuses those that would have no effect.

    Args:
        workdir: Folder of the run.
        export_dir: Folder to write.
        settings: Values of the flags that are set, by name.
        command: Command line, for the model card.
        moved: Settings, by name, of the run's data that now lie elsewhere.

    Returns:
        The model card.

    Raises:
        ValueError: as `export` does, or if a setting would have no effect.
    """
    _require_effect(workdir, settings)
    calibration = {name: settings[name] for name in _CALIBRATION if name in settings}
    rest = {name: value for name, value in settings.items() if name not in _CALIBRATION}
    trust = CalibrationSettings().replaced(calibration)
    return export(workdir, export_dir, **rest, calibration_settings=trust, command=command, moved=moved)


def settings_from_flags() -> dict[str, Any]:
    """Returns the values of the flags that are set, by name, for `export_with`."""
    own = {flag.name: flag.value for flag in _SETTINGS if not flags.FLAGS[flag.name].using_default_value}
    return own | target_flags.targets_from_flags()


_CALIBRATION = ("calibrate_on", *target_flags.NAMES, "set_coverage")


def _require_effect(workdir: str | pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Refuses settings that would have no effect."""
    dtype = settings.get("dtype", "float32")
    if settings.get("fine_tunable") and dtype != "float32":
        raise ValueError(f"--fine_tunable must come with --dtype=float32. Received: --dtype={dtype}")
    remembers, why = settings.get("memory"), "--nomemory"
    if remembers is None:
        remembers, why = (
            checkpoints.has_labelled_queue(workdir),
            "a run without a queue of labels, and no --memory",
        )
    aims = [f"--{name}={settings[name]}" for name in _CALIBRATION[1:] if name in settings]
    aims += [
        f"--{name}={settings[name]}"
        for name in ("calibrate_on", "num_neighbours", "answers", "memory_views")
        if name in settings
    ]
    if aims and not remembers:
        raise ValueError(f"{aims[0]} must come with a memory. Received: {why}")


@quiet.program
def main(argv: list[str]) -> int:
    """Exports the run that the flags name; returns the exit code."""
    del argv
    settings = settings_from_flags()
    command = shlex.join(["python", "-m", "semppl.export.export_model", *sys.argv[1:]])
    places = run_flags.WORKDIR.value, str(_EXPORT_DIR.value)
    card = export_with(*places, settings, command=command, moved=place_flags.moved_from_flags())
    if words := unfinished(run_flags.WORKDIR.value, card["step"], card["steps"]):
        print(words)
    signatures = "serving_default = embed_bytes, embed_images"
    if "memory" in card:
        print(summary(card["memory"]))
        if loss := card["embedding"].get("against_float32"):
            lost, of = loss["loss_of_accuracy"], loss["accuracy_in_float32"]
            print(f"{_DTYPE.value} loses {lost:+.4f} of the accuracy in float32, {of:.4f}")
        if loss := card["embedding"].get("against_all_dims"):
            lost, of = loss["loss_of_accuracy"], loss["accuracy_with_all_dims"]
            print(f"{_EMBEDDING_DIMS.value} dimensions lose {lost:+.4f} of the accuracy with all, {of:.4f}")
        signatures = "serving_default, embed_bytes, embed_images, classify_embeddings, neighbours, ood"
    print(f"exported to {_EXPORT_DIR.value}; signatures: {signatures}")
    if not has_extra("serving"):
        print(f"without warm-up requests: writing these {needs_extra('serving')}")
    print(serving_commands(str(_EXPORT_DIR.value)))
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
