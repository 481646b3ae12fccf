"""Which images a run trains on, which of them have a label, and which are held out."""

import dataclasses
import os

from semppl.configs.setting import SEED, Settings, is_seed, require, setting


@dataclasses.dataclass(frozen=True)
class DataSettings(Settings):
    """The images of a run and their labels."""

    data: str = setting(
        "data",
        "digits",
        "Training images: comma-separated sources, each `digits` (built in), `tfds:NAME[:SPLIT]`, `folder:PATH`, "
        "`folder:PATH?labels=FILE.csv`, `folder:PATH?labels=folders` or `tfrecord:GLOB`. FILE.csv lies in the folder, or is a path "
        "from the working directory; its columns are path, relative to the folder, and label.",
        is_path=True,
    )
    validation: str = setting(
        "data",
        "",
        "Validation images, to choose settings on: sources as in --data, or the share of the labelled training images to hold "
        "out; empty: none.",
        is_path=True,
    )
    test: str = setting(
        "data",
        "",
        "Test images, for the final evaluation: as --validation; empty: the test split of --data, if it has one.",
        is_path=True,
    )
    split_seed: int = setting("data", 0, "Seed that decides which images --validation and --test hold out.")
    labels_per_class: int = setting("data", 0, "Number of labelled images per class; 0: not used.")
    label_fraction: float = setting(
        "data", 0.0, "Share of the training images whose labels are used, stratified by class, in (0, 1]; 0: not used."
    )
    label_list: str = setting(
        "data",
        "",
        "Path of a text file that lists the labelled images, one index or file name per line.",
        is_path=True,
    )
    label_seed: int = setting("data", 0, "Seed that decides which images are labelled.")
    class_balance: bool = setting(
        "data",
        False,
        "Whether labelled images are sampled so that every class is equally frequent in batches, and therefore in the queues.",
    )

    @property
    def brings_labels(self) -> bool:
        """Whether the sources say which images have a label, so that no label need be hidden."""
        return any(f",{self.data}".find(f",{key}:") >= 0 for key in _OWN_LABELS)

    @property
    def label_choice(self) -> str:
        """The name of the setting that decides which images are labelled."""
        return next((name for name in _LABEL_CHOICES if getattr(self, name)), "data")

    def check(self) -> None:
        """Validates the group."""
        for name in ("validation", "test"):
            share = held_out_share(getattr(self, name))
            require(share is None or 0 < share < 1, name, "a source, or a share in (0, 1)", getattr(self, name))
        is_path = os.path.isdir(os.path.expanduser(self.data.partition("?labels=")[0]))
        if is_path and not self.brings_labels:
            meant = f"did you mean folder:{self.data}?"
            raise ValueError(f"--data must name the kind of the source before its path. Received: {self.data}; {meant}")
        chosen = [f"--{name}={getattr(self, name)}" for name in _LABEL_CHOICES if getattr(self, name)]
        if len(chosen) > 1 or not (chosen or self.brings_labels):
            choices = ", ".join(f"--{name}" for name in _LABEL_CHOICES)
            remedy = "; to override a preset's, set it to 0, or --label_list to nothing" if chosen else ""
            raise ValueError(f"Exactly one of {choices} must be given. Received: {' '.join(chosen) or 'none'}{remedy}")
        require(self.labels_per_class >= 0, "labels_per_class", "0 or more", self.labels_per_class)
        require(0 <= self.label_fraction <= 1, "label_fraction", "in 0..1", self.label_fraction)
        self.require_each(("label_seed", "split_seed"), is_seed, SEED)


def held_out_share(spec: str) -> float | None:
    """Parses the share in `--test=0.1`; None if the text names a source instead."""
    try:
        return float(spec)
    except ValueError:
        return None


_OWN_LABELS = ("folder", "tfrecord")  # sources whose labels the user wrote
_LABEL_CHOICES = ("labels_per_class", "label_fraction", "label_list")
