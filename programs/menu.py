"""The command `semppl`: lists the programs, and runs one of them."""

import difflib
import importlib
import os
import pathlib
import shlex
import shutil
import sys
import types

from semppl.programs.process import streams

PROGRAMS = types.MappingProxyType(
    {
        "doctor": ("semppl.doctor.examine", "examines pictures and labels before a run"),
        "pretrain": ("semppl.trainers.pretrain", "trains an encoder on many images and a few labels"),
        "evaluate": ("semppl.evaluation.evaluate", "measures the encoder of a run on held-out images"),
        "report": ("semppl.evaluation.report", "writes a page on a run: accuracy, confusions, confidence, pictures"),
        "export": ("semppl.export.export_model", "writes a run as a model for TensorFlow Serving"),
        "suggest": ("semppl.evaluation.suggest", "chooses the pictures to label next"),
        "suspects": ("semppl.evaluation.suspects", "lists suspicious labels, and pictures unlike all others"),
        "label": ("semppl.evaluation.label", "labels the training pictures that have no label"),
        "embed": ("semppl.export.embed", "embeds and classifies a folder of pictures with an exported model"),
        "update-memory": (
            "semppl.export.update_memory",
            "adds labelled pictures to an exported model, without training",
        ),
        "serve": ("semppl.export.serve", "serves an exported model on this machine, to try it"),
        "client": ("semppl.export.client", "sends pictures to a model server"),
        "index": ("semppl.export.index", "builds an index of embedded pictures"),
        "search": ("semppl.export.search", "finds similar pictures in an index"),
        "convert": ("semppl.export.convert", "converts an exported model to ONNX or TFLite"),
        "compare": (
            "semppl.experiments.compare",
            "compares methods on the same labels, encoder and steps, with a page",
        ),
        "finetune": ("semppl.evaluation.finetune", "trains a classifier on an encoder, as the papers compare encoders"),
        "import": ("semppl.export.import_checkpoint", "makes a run from another project's checkpoint"),
    }
)
"""Module and meaning of each program, in the order in which a user needs them; `semppl-NAME` is its console script."""

_PREFIX = "semppl-"


def is_started(module: str) -> bool:
    """Returns whether a module is the program that this process runs, by `python -m` or as a console script."""
    name = pathlib.Path(sys.argv[0]).stem if sys.argv else ""
    started = PROGRAMS.get(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else None
    return module == "__main__" or (started is not None and started[0] == module)


def command(program: str, *arguments: str) -> str:
    """Returns a command line that starts a program, ready to copy: by its console script if that is on the path.

    Args:
        program: Key of `PROGRAMS`.
        *arguments: Arguments, which are quoted where a shell needs it.
    """
    script = f"{_PREFIX}{program}"
    module = [os.path.relpath(sys.executable), "-m", PROGRAMS[program][0]]
    return shlex.join([*([script] if shutil.which(script) else module), *arguments])


def run() -> int:
    """Runs the program that the first argument names, with the others; without arguments, prints the list.

    Returns:
        The exit code: 2 if there is no such program.
    """
    if sys.stdout is sys.__stdout__:  # no other stream in its place, as in a notebook
        streams.make_lenient()
    name = sys.argv[1] if len(sys.argv) > 1 else "help"
    if name in ("help", "--help", "-h", "--helpfull"):
        print(_listing(), flush=True)
        return 0
    if name not in PROGRAMS:
        near = difflib.get_close_matches(name, PROGRAMS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        allowed = ", ".join(PROGRAMS)
        print(f"error: The first argument must be one of {allowed}. Received: {name}{meant}", file=sys.stderr)
        return 2
    sys.argv = [f"{_PREFIX}{name}", *sys.argv[2:]]
    importlib.import_module(PROGRAMS[name][0]).run()
    return 0


def _listing() -> str:
    width = max(map(len, PROGRAMS))
    rows = "\n".join(f"  {name:<{width}}  {meaning}" for name, (_, meaning) in PROGRAMS.items())
    return f"semppl PROGRAM --flag=value …\n\n{rows}\n\nsemppl PROGRAM --help lists the flags of a program."
