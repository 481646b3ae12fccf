"""What a comparison needs of the data before its first run: enough labels, held-out images, resolved settings."""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from semppl.configs.setting import adding_origin
from semppl.configs.wording import counted
from semppl.data.images import NO_LABEL, Source
from semppl.data.label_split import labels_of_run
from semppl.data.splits import load_splits, require_shrinkable
from semppl.evaluation.feature_store import digest_of_classified
from semppl.experiments.comparison.plan import Training
from semppl.runs.data_record import describe_data
from semppl.trainers.methods import find_method, resolve, settle


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Runs that can start.

    Attributes:
        runs: Runs with settings that are resolved for the data, and a description of these. Batches of a method that uses no
            labels have the share of labelled images that the data have.
        split: Held-out split on which the runs are compared, "test" or "validation".
        images: Description of its labelled images, in words.
        digest: SHA-256 digest of its labelled images and their classes.
    """

    runs: Sequence[Training]
    split: str
    images: str
    digest: str


def settled(training: Training, given: Collection[str] = ()) -> Training:
    """Returns a run with the settings that its method uses, views that suit it, and their size in evaluation.

    Args:
        training: Run.
        given: ("inference_size",) if the user has set it outside the preset, so that it stays; see `settle`.
    """
    planned = training.settings
    recipe = find_method(planned.method).suitable_recipe(planned.recipe)
    settings = settle(dataclasses.replace(planned, recipe=recipe), given=given, workdir=training.folder)
    views = {name: getattr(settings, name) for name in ("recipe", "inference_size")}
    changes = {name: value for name, value in views.items() if value != getattr(planned, name)}
    return dataclasses.replace(training, settings=settings, changes=dict(training.changes) | changes)


def prepare(trainings: Sequence[Training], given: Collection[str] = ()) -> Prepared:
    """Settles all runs, see `settled`, and checks them against the data, which are loaded once.

    Args:
        trainings: Runs on the same images.
        given: As for `settled`.

    Raises:
        ValueError: If a class has too few labels, there are no held-out images, a batch cannot be filled, or runs of one method, of
            which some were trained before, differ in the size of pictures in evaluation.
    """
    trainings = [settled(training, given) for training in trainings]
    _require_one_size(trainings)
    require_shrinkable(trainings[0].settings)
    source = load_splits(trainings[0].settings)
    split = _held_out_split(source)
    resolved = []
    for training in map(_without_idle_settings, trainings):
        labels = labels_of_run(source, training.settings)
        with adding_origin(f"in the run {training.folder.name}"):
            num_labelled = int((labels != NO_LABEL).sum())
            settings = resolve(training.settings, num_images=len(labels), num_labelled=num_labelled, replicas=1)
        data = describe_data(source.train.names, labels, source.class_names)
        resolved.append(dataclasses.replace(training, settings=settings, data=data))
    judged = np.flatnonzero(source.held_out(split).labels != NO_LABEL)
    words = f"{counted(len(judged), f'{split} image')}, {counted(len(source.class_names), 'class')}"
    digest = digest_of_classified(source.held_out(split), judged, source.class_names)
    return Prepared(resolved, split, words, digest)


def _require_one_size(trainings: Sequence[Training]) -> None:
    for method in dict.fromkeys(training.method for training in trainings):
        sizes = sorted({training.settings.inference_size for training in trainings if training.method == method})
        if len(sizes) > 1:
            allowed = f"a folder whose runs of {method} have one --inference_size, or a new one"
            raise ValueError(f"--workdir must be {allowed}. Received: {trainings[0].folder.parent}, with {sizes}")


def _without_idle_settings(training: Training) -> Training:
    """Returns a run with the default `labelled_batch_size` if its method uses no labels."""
    if training.settings.needs_labels:
        return training
    settings = dataclasses.replace(training.settings, labelled_batch_size=0)
    return dataclasses.replace(training, settings=settings, changes=dict(training.changes) | {"labelled_batch_size": 0})


def _held_out_split(source: Source) -> str:
    """Returns the split to compare on: the test images; without these, the validation images."""
    for split in ("test", "validation"):
        images = getattr(source, split)
        if images is not None and (images.labels != NO_LABEL).any():
            return split
    raise ValueError(
        "--test must name labelled images, or the share of the labelled training images to hold out, to compare methods on. "
        "Received: none"
    )
