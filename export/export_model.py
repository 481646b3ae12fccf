"""Turns a run into a SavedModel that plain TensorFlow, and TensorFlow Serving, load and run.

python -m semppl.export.export_model --workdir=outputs/digits --export_dir=served/digits/1
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import shlex
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split
import tensorflow as tf
from absl import flags

import semppl
from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.memory.evidence import CALIBRATIONS, CalibrationSettings, Evidence, summary
from semppl.export.memory.run_images import RunImages, centre_crop_of
from semppl.export.model.assets import EVIDENCE, write_assets
from semppl.export.model.embedder import Embedder
from semppl.export.model.inference_network import DTYPES
from semppl.export.model.servable import AnsweringServable, Servable
from semppl.export.model.versions import new_version
from semppl.export.model.warmup import write_warmup
from semppl.export.serving.extra import MISSING, has_serving
from semppl.layers.networks import OnlineNetwork
from semppl.programs import run_flags
from semppl.runs import checkpoints

flags.adopt_module_key_flags(run_flags)

_EXPORT_DIR = flags.DEFINE_string(
    "export_dir", None, "Folder to write; its last part is the version, a number: …/digits/1."
)
_EMBEDDING = flags.DEFINE_string("embedding", "projections", "What is served: projections, or features.")
_EMBEDDING_DIMS = flags.DEFINE_integer("embedding_dims", 0, "How many numbers of it, from the first on; 0: all.")
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    DTYPES,
    "Of the encoder: bfloat16 or float16, kernels and arithmetic in 16 bits; int8, kernels in 8 bits, arithmetic in float32.",
)
_MEMORY = flags.DEFINE_boolean(
    "memory",
    None,
    "Whether the model remembers the labelled images, and answers from them; by default, if the run has a queue of labels, as "
    "SemPPL has and the labels alone have not.",
)
_NUM_NEIGHBOURS = flags.DEFINE_integer(
    "num_neighbours", 10, "Remembered images that the signature `neighbours` returns."
)
_CALIBRATE_ON = flags.DEFINE_enum(
    "calibrate_on",
    "held_out",
    CALIBRATIONS,
    "What tells how far to trust an answer: held_out (half of the held-out images; the other half checks), memory (the labelled "
    "images, each judged by the others), or nothing (and never abstain).",
)
_TARGET_RISK = flags.DEFINE_float("target_risk", None, "Share of wrong answers among those given (by default 0.05).")
_TARGET_COVERAGE = flags.DEFINE_float("target_coverage", None, "Share of pictures that get an answer, in place of it.")
_SET_COVERAGE = flags.DEFINE_float("set_coverage", 0.9, "Share of prediction sets that hold the true class.")

_FINE_TUNABLE = flags.DEFINE_boolean(
    "fine_tunable",
    True,
    "Whether the weights are kept a second time, as variables that a hub.KerasLayer trains; with --dtype=float32 only.",
)
DATA_LICENCE = "see the data set"
_DATA_LICENCE = flags.DEFINE_string("data_licence", DATA_LICENCE, "Of the pictures, for the model card.")
_SETTINGS = (
    _EMBEDDING,
    _EMBEDDING_DIMS,
    _DTYPE,
    _MEMORY,
    _NUM_NEIGHBOURS,
    _CALIBRATE_ON,
    _TARGET_RISK,
    _TARGET_COVERAGE,
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
    trust: CalibrationSettings | None = None,
    fine_tunable: bool = True,
    data_licence: str = DATA_LICENCE,
    command: str = "",
) -> dict[str, Any]:
    """Writes the latest checkpoint of a run as a SavedModel.

    Args:
        workdir: of the run.
        export_dir: folder to write; appears when it is whole.
        embedding: projections or features.
        embedding_dims: how many numbers of it are kept; 0 keeps all.
        dtype: of the encoder.
        memory: whether the labelled images are remembered; None means, if the run has a queue of labels.
        num_neighbours: remembered images that the signature `neighbours` returns.
        trust: how answers are to be trusted.
        fine_tunable: whether the weights are kept a second time, as variables that a `hub.KerasLayer` trains; of float32 only.
        data_licence: of the pictures, for the model card.
        command: for the model card.

    Returns:
        The model card.

    Raises:
        ValueError: if there is no run, or the folder is there already, or is no version number, or a setting is not allowed, or
            the labelled images are not where the run found them.
    """
    with new_version(export_dir, flag="--export_dir") as folder, tempfile.TemporaryDirectory() as scratch:
        hyperparameters, network, step = checkpoints.load_online(workdir)

        def embedder_of(
            network: OnlineNetwork, dtype: str, *, dims: int = embedding_dims, fold: bool = True
        ) -> Embedder:
            return Embedder(
                network,
                hyperparameters,
                embedding=embedding,
                centre_crop=centre_crop_of(hyperparameters),
                dims=dims,
                dtype=dtype,
                fold=fold,
            )

        embedder = embedder_of(network, dtype)
        card = _describe(workdir, hyperparameters, step, data_licence) | {
            "command": command,
            "embedding": {"kind": embedding, "width": embedder.width, "dtype": dtype},
        }
        evidence: Evidence | None = None
        if checkpoints.has_labelled_queue(workdir) if memory is None else memory:
            images = RunImages(hyperparameters, embedder.prepare, embedder.fingerprints)
            evidence = images.evidence(embedder.embed, trust or CalibrationSettings())
            remembered, card["memory"] = evidence.build()
            strangeness, card["ood"] = images.strangeness(embedder.features)
            if dtype != "float32":
                exact = embedder_of(checkpoints.load_online(workdir)[1], "float32")
                card["embedding"]["against_float32"] = evidence.compare(images.evidence(exact.embed, evidence.trust))
            if embedding_dims:
                whole = images.evidence(
                    embedder_of(checkpoints.load_online(workdir)[1], dtype, dims=0).embed, evidence.trust
                )
                card["embedding"]["against_all_dims"] = evidence.loss_of_accuracy(whole, "accuracy_with_all_dims")
        assets = write_assets(pathlib.Path(scratch), card, evidence)
        trained = None
        if fine_tunable and dtype == "float32":
            trained = embedder_of(checkpoints.load_online(workdir)[1], dtype, fold=False)
        if evidence is None:
            servable = Servable(embedder, assets, trained=trained)
        else:
            servable = AnsweringServable(
                embedder, remembered, strangeness, num_neighbours=num_neighbours, assets=assets, trained=trained
            )
        signatures = servable.signatures()
        tf.saved_model.save(servable, str(folder), signatures=signatures)
        (folder / EVIDENCE).parent.mkdir()
        if evidence is not None:
            evidence.save(folder / EVIDENCE)
        if has_serving():
            name = pathlib.Path(export_dir).absolute().parent.name
            write_warmup(folder, name=name, signatures=list(signatures), embedder=embedder)
    return card


def _describe(
    workdir: str | pathlib.Path, hyperparameters: Hyperparameters, step: int, data_licence: str
) -> dict[str, Any]:
    """Says where a model comes from."""
    metrics, data = (pathlib.Path(workdir) / name for name in ("metrics.json", "data.json"))
    packages = ("tensorflow", "keras", "numpy")
    return {
        "method": hyperparameters.method,
        "data": hyperparameters.data,
        "step": step,
        "weights_sha256": checkpoints.weights_sha256(checkpoints.latest_checkpoint(workdir)),
        "evaluation": json.loads(metrics.read_text()) if metrics.is_file() else None,
        "hyperparameters": dataclasses.asdict(hyperparameters),
        "trained_on": json.loads(data.read_text()) if data.is_file() else None,
        "licences": {"code": "Apache-2.0", "data": data_licence},
        "versions": {"semppl": semppl.__version__} | {name: importlib.metadata.version(name) for name in packages},
    }


def export_with(
    workdir: str | pathlib.Path, export_dir: str | pathlib.Path, settings: Mapping[str, Any], *, command: str = ""
) -> dict[str, Any]:
    """Exports with settings by the names of the flags, and refuses those that would have no effect.

    Args:
        workdir: Folder of the run.
        export_dir: Folder to write.
        settings: Values of the flags that are set, by name.
        command: Command line, for the model card.

    Returns:
        The model card.

    Raises:
        ValueError: as `export` does, or if a setting would have no effect.
    """
    _require_effect(workdir, settings)
    calibration = {name: settings[name] for name in _CALIBRATION if name in settings}
    rest = {name: value for name, value in settings.items() if name not in _CALIBRATION}
    if calibration.get("target_coverage") is not None:
        calibration = {"target_risk": 0.0} | calibration
    return export(workdir, export_dir, **rest, trust=CalibrationSettings(**calibration), command=command)


_CALIBRATION = ("calibrate_on", "target_risk", "target_coverage", "set_coverage")


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
    aims = [
        f"--{name}={settings[name]}" for name in ("target_risk", "target_coverage", "set_coverage") if name in settings
    ]
    if aims and settings.get("calibrate_on") == "nothing":
        raise ValueError(f"{aims[0]} must come with something to calibrate on. Received: --calibrate_on=nothing")
    aims += [f"--{name}={settings[name]}" for name in ("calibrate_on", "num_neighbours") if name in settings]
    if aims and not remembers:
        raise ValueError(f"{aims[0]} must come with a memory. Received: {why}")


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    settings = {flag.name: flag.value for flag in _SETTINGS if not flags.FLAGS[flag.name].using_default_value}
    command = shlex.join(["python", "-m", "semppl.export.export_model", *sys.argv[1:]])
    card = export_with(run_flags.WORKDIR.value, str(_EXPORT_DIR.value), settings, command=command)
    told = "serving_default = embed_bytes, embed_images"
    if "memory" in card:
        print(summary(card["memory"]))
        if loss := card["embedding"].get("against_float32"):
            lost, of = loss["loss_of_accuracy"], loss["accuracy_in_float32"]
            print(f"{_DTYPE.value} loses {lost:+.4f} of the accuracy in float32, {of:.4f}")
        if loss := card["embedding"].get("against_all_dims"):
            lost, of = loss["loss_of_accuracy"], loss["accuracy_with_all_dims"]
            print(f"{_EMBEDDING_DIMS.value} numbers lose {lost:+.4f} of the accuracy with all, {of:.4f}")
        told = "serving_default, embed_bytes, embed_images, classify_embeddings, neighbours, ood"
    print(f"exported to {_EXPORT_DIR.value}; signatures: {told}")
    if not has_serving():
        print(f"without warm-up requests: {MISSING}")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flag_as_required("export_dir")
    quiet.run(main)


if __name__ == "__main__":
    run()
