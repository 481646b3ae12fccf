"""Adds labelled pictures, of the model's classes or of new ones, to an exported model, without training.

python -m semppl.export.update_memory --model=served/digits/1 --labels=new.csv --out=served/digits/2
"""

# ruff: noqa: E402 (flags are parsed before TensorFlow is imported)

import collections
import dataclasses
import os
import pathlib
import shlex
import shutil
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from semppl.configs.hyperparameters import Hyperparameters
from semppl.configs.similar_names import is_similar
from semppl.configs.wording import counted
from semppl.programs import model_flags, quiet
from semppl.programs.answers import target_flags

_LABELS = flags.DEFINE_string(
    "labels", None, "CSV file with the columns path (relative to the file) and label (name of a class)."
)
for _name in ("model", "out"):
    flags.declare_key_flag(_name)  # --help shows it
flags.adopt_module_key_flags(target_flags)

_SIMILAR_NAMES = flags.DEFINE_boolean(
    "similar_names",
    False,
    "Whether a new class may have nearly the name of another one, such as Packshots of Packshot.",
)

quiet.parse_flags(__name__, required=["model", "labels", "out"])

import tensorflow as tf

from semppl.export.collections.sendable import sendable
from semppl.export.memory.embedded_images import FIRST_ADDED_ID, EmbeddedImages
from semppl.export.memory.evidence import Evidence
from semppl.export.memory.judgement import summary
from semppl.export.memory.labelled_pictures import LabelledPicture, class_name, numbered, read_labelled_pictures
from semppl.export.memory.memory_views import framed, mean_direction, random_view
from semppl.export.memory.run_images import centre_crop_of
from semppl.export.model.assets import EVIDENCE, read_card, write_assets
from semppl.export.model.decoding import decode_upright
from semppl.export.model.variables import exchange_variables, memory_values
from semppl.export.model.versions import new_version, serving_commands
from semppl.layers.inputs.preparation import fingerprints
from semppl.runs.served_models import version_meant

_BATCH = 32


def update_memory(
    model: str | pathlib.Path,
    labels: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    command: str = "",
    similar_names: bool = False,
    targets: Mapping[str, float] = types.MappingProxyType({}),
    say: Callable[[int, int], None] = lambda added, named: None,
) -> dict[str, Any]:
    """Writes a version of a model that remembers more pictures: its memory is calibrated again, its encoder unchanged.

    Args:
        model: Folder of an exported model.
        labels: CSV file of labelled pictures; a label that names no class of the model becomes a new class.
        out: Folder to write, which must not exist; its name is the version number.
        command: Command line, for the model card.
        similar_names: Whether a new class may have nearly the name of another one.
        targets: `target_risk`, `risk_confidence` or `target_coverage`, where the model shall be calibrated for another value.
        say: Callback that receives the number of added pictures and the number of pictures in the file.

    Returns:
        The model card.

    Raises:
        ValueError: if the model has no memory, the CSV file is not valid, a new class has nearly the name of another one, or a
            picture cannot be read.
    """
    source = pathlib.Path(model)
    if not (source / EVIDENCE).is_file():
        raise ValueError(
            f"--model must be the folder of an exported model with a labelled memory. Received: {model}{version_meant(model)}"
        )
    with new_version(out, flag="--out") as folder:
        pictures = read_labelled_pictures(labels)
        before = Evidence.load(source / EVIDENCE)
        before = dataclasses.replace(before, settings=before.settings.replaced(targets))
        if not similar_names:
            require_distinct(before.class_names, pictures)
        settings = Hyperparameters.from_dict(read_card(source)["hyperparameters"])
        evidence = remember(before, pictures, *_read(source, pictures, settings, before.views))
        memory, report = evidence.build()
        # fingerprint.pb is a digest of the old variables; servers do not need it.
        shutil.copytree(
            source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("variables", "fingerprint.pb")
        )
        exchange_variables(source, folder, memory_values(memory))
        evidence.save(folder / EVIDENCE)
        card = read_card(source)
        card |= {
            "memory": report,
            "answers": evidence.compare_answers(),
            "new_classes": new_classes(before.class_names, pictures),
            "updated_from": card["command"],
            "command": command,
        }
        write_assets(folder / "assets", card, evidence)
    say(len(evidence.memory) - len(before.memory), len(pictures))
    return card


def new_classes(known: Sequence[str], pictures: Sequence[LabelledPicture]) -> dict[str, int]:
    """Counts the pictures of each class that is not known yet, in order of appearance."""
    names = set(map(class_name, known))
    labels = (picture.label for picture in pictures)
    return dict(collections.Counter(label for label in labels if class_name(label) not in names))


def require_distinct(known: Sequence[str], pictures: Sequence[LabelledPicture]) -> None:
    """Refuses a new class whose name is nearly that of another one: a slip of the pen would otherwise divide a class.

    For names that are nearly the same see `configs.similar_names`.

    Raises:
        ValueError: If there is such a name; the message says where, and which flag allows it.
    """
    names = list(map(class_name, known))
    for picture in pictures:
        if picture.label in names:
            continue
        similar = next((name for name in names if is_similar(picture.label, name)), None)
        if similar is not None:
            raise ValueError(
                f"--labels must not have a new class with nearly the name of another one: correct the name, or set "
                f"--similar_names. Received: {picture.label!r} ({picture.where}) beside {similar!r}"
            )
        names.append(picture.label)


def remember(
    evidence: Evidence, pictures: Sequence[LabelledPicture], embeddings: np.ndarray, prints: np.ndarray
) -> Evidence:
    """Adds pictures to the evidence of a memory; a picture that is remembered already is skipped, so that it votes once.

    Args:
        evidence: Evidence of the memory.
        pictures: `n` labelled pictures; a label that names no class adds a class, in order of appearance.
        embeddings: `[n, D]` unit-norm embeddings of the pictures.
        prints: int64 `[n]` fingerprints of the pictures, from `layers.inputs.preparation`.

    Returns:
        The evidence with the new pictures.

    Raises:
        ValueError: if a picture is already remembered, or occurs in `pictures`, with another label.
    """
    names, labels = numbered([picture.label for picture in pictures], evidence.class_names)
    first = max(FIRST_ADDED_ID, int(evidence.memory.ids.max()) + 1)
    ids = first + np.arange(len(pictures))
    added = EmbeddedImages(embeddings, labels, ids, ids, prints)
    everything = evidence.memory.join(added)
    new = np.ones(len(pictures), bool)
    for number, picture in enumerate(pictures):
        before = len(evidence.memory) + number
        copies = np.flatnonzero(added.take(np.array([number])).copies(everything)[0, :before])
        new[number] = not len(copies)
        if len(copies) and labels[number] not in everything.labels[copies]:
            first_copy, named = int(copies[0]) - len(evidence.memory), names[everything.labels[copies[0]]]
            contradiction = f"{picture.path} ({picture.where}), as {picture.label!r}"
            if first_copy < 0:
                raise ValueError(
                    f"--labels must not contradict what is remembered: correct or remove the row. Received: {contradiction}, "
                    f"which is remembered as {named!r}"
                )
            twin = f"the same picture as {pictures[first_copy].where}, as {named!r}"
            raise ValueError(
                f"--labels must give a picture one label: correct or remove one of its rows. Received: {contradiction}, {twin}"
            )
    added = added.take(new)
    ids = first + np.arange(len(added))
    added = dataclasses.replace(added, ids=ids, groups=ids)
    kept = [os.path.abspath(picture.path) for picture, is_new in zip(pictures, new.tolist(), strict=True) if is_new]
    paths = evidence.paths | dict(zip(ids.tolist(), kept, strict=True))
    return dataclasses.replace(evidence, memory=evidence.memory.join(added), class_names=names, paths=paths)


def _read(
    model: pathlib.Path, pictures: Sequence[LabelledPicture], settings: Hyperparameters, views: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns embeddings `[n, D]` from the model's own signatures, and int64 `[n]` fingerprints of the pixels as in training."""
    signatures = tf.saved_model.load(str(model)).signatures
    embed = signatures["embed_bytes"]

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def fingerprint(encoded: tf.Tensor) -> tf.Tensor:
        return fingerprints(decode_upright(encoded, settings.channels)[tf.newaxis], shrink=settings.shrink)[0]

    embeddings, prints = [], []
    for first in range(0, len(pictures), _BATCH):
        batch = pictures[first : first + _BATCH]
        files = [sendable(picture.path.read_bytes(), settings.reading) for picture in batch]
        answer = embed(bytes=tf.constant(files))
        for picture, valid in zip(batch, answer["valid"].numpy(), strict=True):
            if not valid:
                raise ValueError(
                    "--labels must name whole pictures, of the formats that training reads. "
                    f"Received: {picture.path} ({picture.where})"
                )
        others = [_embedded_views(signatures["embed_images"], files, settings, number) for number in range(1, views)]
        embeddings.append(mean_direction([answer["embedding"].numpy(), *others]))
        prints += [fingerprint(file).numpy() for file in files]
    return np.concatenate(embeddings), np.array(prints)


def _embedded_views(
    embed_images: Callable[..., dict[str, tf.Tensor]], files: Sequence[bytes], settings: Hyperparameters, number: int
) -> np.ndarray:
    """Embeds the random view of a number of each of n picture files: `[n, D]`."""
    made = [random_view(decode_upright(file, settings.channels)[tf.newaxis], settings, number) for file in files]
    images = framed(tf.concat(made, 0), centre_crop=centre_crop_of(settings))
    return embed_images(images=images)["embedding"].numpy()


def _say(added: int, named: int) -> None:
    others = f"; {named - added} skipped: remembered already, or listed twice" if named > added else ""
    print(f"{counted(added, 'picture')} added{others}")


@quiet.program
def main(argv: list[str]) -> int:
    """Updates the model that the flags name; returns the exit code."""
    del argv
    command = shlex.join(["python", "-m", "semppl.export.update_memory", *sys.argv[1:]])
    paths = str(model_flags.MODEL.value), str(_LABELS.value), str(model_flags.OUT.value)
    targets = target_flags.targets_from_flags()
    card = update_memory(*paths, command=command, similar_names=_SIMILAR_NAMES.value, targets=targets, say=_say)
    if card["new_classes"]:
        print("new: " + ", ".join(f"{name} ({count})" for name, count in card["new_classes"].items()))
    print(summary(card["memory"]))
    print(f"written to {model_flags.OUT.value}")
    print(serving_commands(str(model_flags.OUT.value)))
    return 0


def run() -> None:
    """Runs the console script."""
    quiet.run(main)


if __name__ == "__main__":
    run()
