"""SemPPL: semi-supervised image embeddings from many images and a few labels (arXiv 2301.05158).

Functions for notebooks and scripts, with the checks and the messages of the programs:

    import semppl

    settings = {"preset": "own_pictures_cpu", "data": "folder:pictures?labels=labels.csv"}
    semppl.doctor(**settings)["problems"]
    semppl.pretrain("outputs/own", **settings)
    semppl.evaluate("outputs/own")["accuracy"]
    semppl.export("outputs/own", "served/own/1")
    model = semppl.load("served/own/1")
    model.answer(["a.jpg", "b.png"]).class_names
    model.embed(["a.jpg", "b.png"])  # float32 [2, D]

`import semppl` imports neither TensorFlow nor NumPy; each function imports what it needs when it is called. An error has
the message of the program: "--steps must be …" is about the argument `steps`.
"""

import os
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semppl import keras_two

if TYPE_CHECKING:
    from semppl.evaluation.results.table import Measured
    from semppl.export.loaded import Model

__version__ = "0.1.0"
__all__ = ["doctor", "evaluate", "export", "load", "pretrain"]

_Path = str | os.PathLike[str]

keras_two.use()


def doctor(workdir: _Path = "", *, preset: _Path = "", trial_steps: int = 20, **settings: Any) -> dict[str, Any]:
    """Examines the data of a run before training: files, labels, classes, duplicates; and trains a few steps on trial.

    Args:
        workdir: Folder in which `doctor.json` and a page with pictures, `doctor.html`, are written; by default none.
        preset: Name of a flag file in `semppl.configs`, such as "digits" or "own_pictures_cpu", or path of another one;
            by default none.
        trial_steps: Number of steps to train, in another process, to measure time and memory; 0 for none.
        **settings: Hyper-parameters by the names of the flags of `python -m semppl.doctor.examine`; they override those
            of `preset`.

    Returns:
        The report, as in `doctor.json`. "problems" lists each finding with a "text" and whether it "stops" a run;
        "suggestions" maps names of settings to a "value" that suits the data and this machine better than the one in use, and
        a "reason"; "verdict" says whether the run can start, and how long it takes.

    Raises:
        ValueError: If a setting is unknown or not allowed. Data that cannot be read are a problem in the report.
    """
    from semppl.programs import presets, quiet  # before TensorFlow

    # isort: split
    from semppl.configs.hyperparameters import Hyperparameters
    from semppl.doctor import examine

    (values,) = presets.settings_by_name(preset, settings, Hyperparameters)
    hyperparameters = Hyperparameters(**values)
    with quiet.hushed():
        if os.fspath(workdir):
            return examine.examine_into(pathlib.Path(workdir), hyperparameters, trial_steps=trial_steps)[0]
        return examine.examine(hyperparameters, trial_steps=trial_steps)[0]


def pretrain(workdir: _Path, *, preset: _Path = "", **settings: Any) -> dict[str, Any]:
    """Trains an encoder on many images and a few labels, from the start or from the run's latest checkpoint.

    Progress is printed. The weights are those of `python -m semppl.trainers.pretrain` with the same settings: the
    function seeds Python, NumPy and TensorFlow, and makes TensorFlow's operations deterministic, for the whole process.
    It handles no signals.

    Args:
        workdir: Folder of the run, new or of a run with the same settings.
        preset: Name of a flag file in `semppl.configs`, such as "digits" or "own_pictures_cpu", or path of another one;
            by default none.
        **settings: Hyper-parameters, and options such as `strategy` and `checkpoint_every`, by the names of the
            flags that `python -m semppl.trainers.pretrain --help` lists; they override those of `preset`.

    Returns:
        The contents of `done.json`: "step", the number of steps, and "weights_sha256", the digest of the weights.

    Raises:
        ValueError: If a setting is unknown or not allowed, the data cannot be read, or `workdir` holds a run with other
            settings or other data.
        semppl.trainers.reports.callbacks.NotFinite: if a loss term or a weight is NaN or Inf.
        semppl.data.files.lost_pictures.PictureLost: if a picture is deleted or damaged during the run.
        KeyboardInterrupt: if the run is interrupted; the same call continues from the latest checkpoint.
    """
    from semppl.programs import presets, quiet  # before TensorFlow

    # isort: split
    import tensorflow as tf

    from semppl.configs.hyperparameters import Hyperparameters
    from semppl.runs import folder
    from semppl.trainers import pretrain as program
    from semppl.trainers.methods import settle
    from semppl.trainers.run_options import RunOptions

    values, options = presets.settings_by_name(preset, settings, Hyperparameters, RunOptions)
    hyperparameters = settle(Hyperparameters(**values), given=settings, workdir=pathlib.Path(workdir))
    tf.config.experimental.enable_op_determinism()
    with quiet.hushed():
        program.pretrain(hyperparameters, pathlib.Path(workdir), RunOptions(**options))
    return folder.read_done(pathlib.Path(workdir))


def evaluate(
    workdir: _Path,
    *,
    k: int = 1,
    evaluators: Sequence[str] | None = None,
    split: str = "test",
    moved: Mapping[str, Any] | None = None,
) -> dict[str, "Measured"]:
    """Evaluates the latest checkpoint of a run on held-out images, and writes `metrics.json` or `metrics_validation.json`.

    Args:
        workdir: Folder of the run.
        k: Number of neighbours that vote, in the evaluator "nearest_neighbours".
        evaluators: Names of the evaluators, among "nearest_neighbours", "class_means", "logistic_regression",
            "label_spreading" and "logistic_regression_all_labels"; by default all.
        split: Images to evaluate on, "test" or "validation".
        moved: Settings, by name, of data that now lie elsewhere, such as `{"data": "folder:new/place"}`.

    Returns:
        Values in 0..1 by measure ("accuracy", "balanced_accuracy"), representation ("raw_pixels", "features",
        "projections", "joint"; "classifier" for a supervised run) and evaluator.

    Raises:
        ValueError: If `workdir` holds no run with a checkpoint, an evaluator or split is unknown, or no image of the
            split has a label.
    """
    from semppl.programs import quiet  # before TensorFlow

    # isort: split
    from semppl.evaluation import evaluate as program

    with quiet.hushed():
        chosen = evaluators or tuple(program.EVALUATORS)
        return program.evaluate(pathlib.Path(workdir), k=k, evaluators=chosen, split=split, moved=moved)


def export(
    workdir: _Path,
    export_dir: _Path,
    *,
    embedding: str | None = None,
    embedding_dims: int | None = None,
    dtype: str | None = None,
    memory: bool | None = None,
    num_neighbours: int | None = None,
    answers: str | None = None,
    memory_views: int | None = None,
    calibrate_on: str | None = None,
    target_risk: float | None = None,
    risk_confidence: float | None = None,
    target_coverage: float | None = None,
    set_coverage: float | None = None,
    fine_tunable: bool | None = None,
    data_licence: str | None = None,
    moved: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the latest checkpoint of a run as a SavedModel, which TensorFlow Serving and `load` read.

    Args:
        workdir: Folder of the run.
        export_dir: Folder to write; its last part is the version number, as in "served/own/1".
        embedding: What is served: "projections" (default), "features" or "joint" (both together).
        embedding_dims: Number of leading dimensions of the embedding to serve; by default, or with 0, all.
        dtype: Type of the encoder: "float32" (default), "bfloat16", "float16" or "int8".
        memory: Whether the model remembers the labelled images, and classifies by them; by default if the run has a
            queue of labelled images.
        num_neighbours: Number of remembered images that the signature `neighbours` returns; by default 10.
        answers: How the model classifies: "vote" (default), "class_means", "logistic_regression", or "auto", the most
            accurate of the three.
        memory_views: Number of views whose mean embedding stands for a remembered image; by default 1.
        calibrate_on: Images that probabilities are calibrated on: "held_out" (default), "memory" or "nothing".
        target_risk: Largest share, in 0..1, of wrong answers among the answers without abstention; by default 0.05.
        risk_confidence: Confidence with which `target_risk` is kept; by default 0.9.
        target_coverage: Smallest share, in 0..1, of pictures without abstention; in place of `target_risk`.
        set_coverage: Share of prediction sets that contain the true class; by default 0.9.
        fine_tunable: Whether the weights are stored a second time, as variables that `hub.KerasLayer` trains; with
            "float32" only, and there by default.
        data_licence: Licence of the pictures, for the model card.
        moved: Settings, by name, of data that now lie elsewhere, such as `{"data": "folder:new/place"}`.

    Returns:
        The model card: origin, settings, evaluation and calibration of the model.

    Raises:
        ValueError: If `workdir` holds no run with a checkpoint, `export_dir` exists or does not end in a number, a
            setting is not allowed or would have no effect, or the labelled images cannot be read.
    """
    settings = {name: value for name, value in locals().items() if name not in ("workdir", "export_dir", "moved")}

    from semppl.programs import quiet  # before TensorFlow

    # isort: split
    from semppl.export import export_model

    with quiet.hushed():
        chosen = {name: value for name, value in settings.items() if value is not None}
        return export_model.export_with(pathlib.Path(workdir), pathlib.Path(export_dir), chosen, moved=moved)


def load(path: _Path) -> "Model":
    """Loads an exported model into this process.

    Args:
        path: Folder that `export` wrote, such as "served/own/1".

    Returns:
        The model: `answer(paths)` returns classes, probabilities, out-of-distribution scores and embeddings of picture
        files, `embed(paths)` the embeddings alone.

    Raises:
        ValueError: If `path` is not the folder of an exported model.
    """
    from semppl.programs import quiet  # before TensorFlow

    # isort: split
    from semppl.export.loaded import Model

    with quiet.hushed():
        return Model(path)


class _PackageAndFunction(types.ModuleType):
    """A package with the name of a function of `semppl`: `semppl.export(…)` calls, `semppl.export.model` is a package."""

    __wrapped__: types.FunctionType  # by which inspect.signature and help find the arguments

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)


class _Door(types.ModuleType):
    """The package `semppl`: importing a sub-package named like a function leaves the name callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        function = self.__dict__.get(name)
        if isinstance(value, types.ModuleType) and isinstance(function, types.FunctionType):  # set by the import system
            value.__class__ = _PackageAndFunction
            value.__wrapped__ = function  # type: ignore[attr-defined]
            value.__doc__ = f"{function.__doc__}\n\nThe package: {value.__doc__}"
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
