"""Adds labelled pictures, of known classes or of new ones, to an exported model, without training.

python -m semppl.export.update_memory --model=served/digits/1 --labels=new.csv --out=served/digits/2
"""

import dataclasses
import pathlib
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from semppl.programs import quiet  # before TensorFlow

# isort: split

import numpy as np
import tensorflow as tf
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.export.memory.evidence import FIRST_ADDED_ID, EmbeddedImages, Evidence, summary
from semppl.export.memory.labelled_pictures import LabelledPicture, read_labelled_pictures
from semppl.export.model.assets import EVIDENCE, read_card, write_assets
from semppl.export.model.decoding import decode_upright
from semppl.export.model.variables import exchange_variables, memory_values
from semppl.export.model.versions import new_version
from semppl.layers.inputs.preparation import fingerprints
from semppl.programs import model_flags

_BATCH = 32

_LABELS = flags.DEFINE_string(
    "labels", None, "CSV file with the columns path (relative to the file) and label (the name of a class)."
)
for _name in ("model", "out"):
    flags.declare_key_flag(_name)  # --help shows it


def update_memory(
    model: str | pathlib.Path,
    labels: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    command: str = "",
    say: Callable[[int, int], None] = lambda added, named: None,
) -> dict[str, Any]:
    """Writes a version that remembers more; what it answers is fitted again, and its encoder is the same, byte for byte.

    Args:
        model: folder of an exported model.
        labels: CSV file; a label that names no class of the model is a new class.
        out: folder to write; appears when it is whole.
        command: for the model card.
        say: is told how many pictures were added, and how many the file names.

    Returns:
        The model card.

    Raises:
        ValueError: if the model has no memory, the file is not as it should be, or a picture cannot be read.
    """
    source = pathlib.Path(model)
    if not (source / EVIDENCE).is_file():
        raise ValueError(f"--model must be the folder of an exported model with a labelled memory. Received: {model}")
    with new_version(out, flag="--out") as folder:
        pictures = read_labelled_pictures(labels)
        before = Evidence.load(source / EVIDENCE)
        settings = Hyperparameters.from_dict(read_card(source)["hyperparameters"])
        evidence = remember(before, pictures, *_read(source, pictures, settings))
        memory, report = evidence.build()
        # The fingerprint is of the old variables; servers do without.
        shutil.copytree(
            source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("variables", "fingerprint.pb")
        )
        exchange_variables(source, folder, memory_values(memory))
        evidence.save(folder / EVIDENCE)
        card = read_card(source)
        card |= {"memory": report, "updated_from": card["command"], "command": command}
        write_assets(folder / "assets", card, evidence)
    say(len(evidence.memory) - len(before.memory), len(pictures))
    return card


def remember(
    evidence: Evidence, pictures: Sequence[LabelledPicture], embeddings: np.ndarray, prints: np.ndarray
) -> Evidence:
    """Adds pictures to what a memory is built from; one that it remembers already is not added again, lest it vote twice.

    Args:
        evidence: as it was.
        pictures: n of them; a label that names no class makes a new one, in order of appearance.
        embeddings: `[n, D]` of them.
        prints: `[n]` int64, `preprocessing.fingerprints` of them.

    Raises:
        ValueError: if a picture is remembered, by this file or before, with another label.
    """
    names = tuple(dict.fromkeys([*evidence.class_names, *(picture.label for picture in pictures)]))
    labels = np.array([names.index(picture.label) for picture in pictures], np.int32)
    first = max(FIRST_ADDED_ID, int(evidence.memory.ids.max()) + 1)
    ids = first + np.arange(len(pictures))
    added = EmbeddedImages(embeddings, labels, ids, ids, prints)
    known = evidence.memory.join(added)
    new = np.ones(len(pictures), bool)
    for number, picture in enumerate(pictures):
        before = len(evidence.memory) + number
        copies = known.labels[:before][added.take(np.array([number])).copies(known)[0, :before]]
        new[number] = not len(copies)
        if len(copies) and labels[number] not in copies:
            contradiction = (
                f"{picture.path} ({picture.where}), as {picture.label}, which is remembered as {names[copies[0]]}"
            )
            raise ValueError(f"--labels must not contradict what is remembered. Received: {contradiction}")
    added = added.take(new)
    ids = first + np.arange(len(added))
    added = dataclasses.replace(added, ids=ids, groups=ids)
    return dataclasses.replace(evidence, memory=evidence.memory.join(added), class_names=names)


def _read(
    model: pathlib.Path, pictures: Sequence[LabelledPicture], settings: Hyperparameters
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `[n, D]`, by the model's own signature, and `[n]` int64 fingerprints of the pixels that training would see."""
    embed = tf.saved_model.load(str(model)).signatures["embed_bytes"]

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def fingerprint(encoded: tf.Tensor) -> tf.Tensor:
        return fingerprints(decode_upright(encoded, settings.channels)[tf.newaxis], shrink=settings.shrink)[0]

    embeddings, prints = [], []
    for first in range(0, len(pictures), _BATCH):
        some = pictures[first : first + _BATCH]
        files = [picture.path.read_bytes() for picture in some]
        answer = embed(bytes=tf.constant(files))
        for picture, valid in zip(some, answer["valid"].numpy(), strict=True):
            if not valid:
                raise ValueError(
                    "--labels must name whole JPEG, PNG or BMP pictures, none in CMYK; others can be saved "
                    f"as PNG. Received: {picture.path} ({picture.where})"
                )
        embeddings.append(answer["embedding"].numpy())
        prints += [fingerprint(file).numpy() for file in files]
    return np.concatenate(embeddings), np.array(prints)


def _say(added: int, named: int) -> None:
    print(f"{added} pictures added" + (f"; {named - added} were remembered already" if named > added else ""))


@quiet.program
def main(argv: list[str]) -> int:
    """Runs from flags; returns the exit code."""
    del argv
    command = shlex.join(["python", "-m", "semppl.export.update_memory", *sys.argv[1:]])
    paths = str(model_flags.MODEL.value), str(_LABELS.value), str(model_flags.OUT.value)
    card = update_memory(*paths, command=command, say=_say)
    print(summary(card["memory"]))
    print(f"written to {model_flags.OUT.value}")
    return 0


def run() -> None:
    """Is the console script."""
    flags.mark_flags_as_required(["model", "labels", "out"])
    quiet.run(main)


if __name__ == "__main__":
    run()
