"""The hyper-parameters of one pre-training run: every group of settings in one flat, frozen record."""

import dataclasses
import json
import pathlib
from collections.abc import Collection
from typing import Any, TypeVar

from semppl.configs.data import DataSettings, held_out_share
from semppl.configs.family import FamilySettings
from semppl.configs.network import NetworkSettings
from semppl.configs.objective import OBJECTIVE, WITHOUT_LABELS, ObjectiveSettings
from semppl.configs.optimisation import OptimisationSettings
from semppl.configs.reading import ReadingSettings
from semppl.configs.setting import Settings, require
from semppl.configs.views import ViewSettings

_Group = TypeVar("_Group", bound=Settings)


# The fields of the last base come first.
@dataclasses.dataclass(frozen=True)
class Hyperparameters(
    FamilySettings,
    OptimisationSettings,
    NetworkSettings,
    ViewSettings,
    ReadingSettings,
    DataSettings,
    ObjectiveSettings,
):
    """The hyper-parameters of one pre-training run; each is a flag, and a key of `hyperparameters.json`, of the same name.

    Names of methods, optimisers, encoders, recipes and precisions are validated where they are registered: see
    `trainers.pretrain.check_names`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "channels", len(self.pixel_mean))

    @property
    def capacity(self) -> int:
        """Q, with its default of 20 global batches."""
        return self.queue_size or 20 * self.batch_size

    @property
    def num_voting_views(self) -> int:
        """Number of large views that vote, by default all."""
        return self.voting_views or self.large_views

    @property
    def needs_labels(self) -> bool:
        """Whether at least one training image must have a label."""
        return self.method not in WITHOUT_LABELS or max(self.byol_semantic_weight, self.simclr_semantic_weight) > 0

    @property
    def views(self) -> ViewSettings:
        """The settings of the views alone."""
        return self._group(ViewSettings)

    @property
    def reading(self) -> ReadingSettings:
        """The settings of the sources' readers alone."""
        return self._group(ReadingSettings)

    @property
    def network(self) -> dict[str, Any]:
        """The keyword arguments of the networks."""
        frozen_norms = {"auto": bool(self.initial_weights), "true": True, "false": False}[self.frozen_norms]
        own = {"picture_size": self.large_size, "frozen_norms": frozen_norms}
        return dataclasses.asdict(self._group(NetworkSettings)) | own

    def _group(self, group: type[_Group]) -> _Group:
        return group(**{field.name: getattr(self, field.name) for field in dataclasses.fields(group)})

    def check(self) -> None:
        """Validates settings of different groups against each other."""
        self.require_own(self.method)
        allowed = f"a value per channel, {self.channels}"
        require(self.channels in (0, len(self.pixel_mean)), "pixel_mean", allowed, self.pixel_mean)
        within = f"at most --embedding_width = {self.embedding_width}"
        require(max(self.nested_dims, default=0) <= self.embedding_width, "nested_dims", within, self.nested_dims)
        fits, alone = self.train == "all" or not self.compatible_with, f"empty with --train={self.train}"
        require(fits, "compatible_with", alone, self.compatible_with)
        starts = bool(self.initial_run or self.initial_weights)
        trained = "0 without --initial_weights or --initial_run, since random weights would stay untrained"
        require(starts or self.frozen_stages == 0, "frozen_stages", trained, self.frozen_stages)
        alone = f"0 with --train={self.train}, which trains no stage"
        require(self.train == "all" or self.frozen_stages == 0, "frozen_stages", alone, self.frozen_stages)
        from_elsewhere = starts or self.train == "all" or ":" not in self.encoder
        allowed = f"imagenet or a file, since {self.encoder} is not trained"
        require(from_elsewhere, "initial_weights", allowed, self.initial_weights or "none")
        if self.train == "heads":
            alike = f"0 or large_size = {self.large_size} with --train=heads"
            require(self.embedded_size == self.large_size, "inference_size", alike, self.inference_size)
            enough = f"at least large_views = {self.large_views}"
            require(self.cached_views >= self.large_views, "cached_views", enough, self.cached_views)
            require(self.small_views == 0, "small_views", "0 with --train=heads", self.small_views)
        semantic = getattr(self, f"{self.method}_semantic_weight", 0)
        some = f"1 or more with --{self.method}_semantic_weight={semantic:g}"
        require(semantic == 0 or self.semantic_positives > 0, "semantic_positives", some, self.semantic_positives)
        if self.method == ObjectiveSettings.method:
            self.check_batch(OBJECTIVE)

    def check_batch(self, used: Collection[str]) -> None:
        """Validates the size of a batch against the settings of the objective that the run's method uses.

        The default method is validated on construction, any other one where it is registered: see
        `trainers.methods.check_batch`.

        Args:
            used: Names of the settings.

        Raises:
            ValueError: If a batch is too small for the negatives, or a queue for the labelled images of a batch, or more views
                vote than there are.
        """
        if "neighbours" in used:
            require(1 <= self.neighbours <= self.capacity, "neighbours", f"in 1..{self.capacity}", self.neighbours)
        if "voting_views" in used:
            most = f"at most large_views = {self.large_views}"
            require(self.voting_views <= self.large_views, "voting_views", most, self.voting_views)
        if "queue_size" in used and self.needs_labels:
            holds = f"at least the labelled images of a batch, {self.labelled_batch_size}"
            require(self.capacity >= self.labelled_batch_size, "queue_size", holds, self.capacity)
        if "negatives" in used:
            enough = f"at least negatives + 1 = {self.negatives + 1}"
            require(self.batch_size >= self.negatives + 1, "batch_size", enough, self.batch_size)

    def resolved(
        self, *, num_images: int, num_labelled: int, replicas: int, labels_alone: bool = False
    ) -> "Hyperparameters":
        """Replaces every default that depends on the data or the devices by a value.

        Args:
            num_images: Number of training images.
            num_labelled: Number of training images with a label.
            replicas: Number of replicas in sync.
            labels_alone: Whether the method trains on labelled images alone.

        Raises:
            ValueError: If the batch cannot be filled, or cannot be divided among the replicas.
        """
        labelled = self._resolved_labelled_batch_size(num_images, num_labelled, labels_alone)
        for flag, size in (("batch_size", self.batch_size), ("labelled_batch_size", labelled)):
            nearest = max(1, round(size / replicas)) * replicas
            require(size % replicas == 0, flag, f"a multiple of the {replicas} replicas, say {nearest}", size)
        share = self.batch_size // replicas
        divides = f"a divisor of the {share} images of a replica"
        require(share % self.accumulate_steps == 0, "accumulate_steps", divides, self.accumulate_steps)
        steps, warmup = self._resolved_length(num_images)
        return dataclasses.replace(
            self, labelled_batch_size=labelled, queue_size=self.capacity, steps=steps, warmup_steps=warmup
        )

    def _resolved_length(self, num_images: int) -> tuple[int, int]:
        """Returns the steps of the run and of its warm-up; both are 0 where nothing is trained."""
        if self.train == "nothing":
            return 0, 0
        steps = self.steps or max(1, int(self.epochs * num_images / self.batch_size))
        warmup = self.warmup_steps if self.warmup_steps >= 0 else int(self.warmup_epochs * num_images / self.batch_size)
        flag = "warmup_steps" if self.warmup_steps >= 0 else "warmup_epochs"
        require(warmup < steps, flag, f"below the {steps} steps", warmup)
        return steps, warmup

    def _resolved_labelled_batch_size(self, num_images: int, num_labelled: int, labels_alone: bool) -> int:
        choice = self.label_choice
        has_enough = num_labelled > 0 or not self.needs_labels
        require(has_enough, choice, "such that an image has a label", getattr(self, choice))
        if not num_labelled:
            return 0
        if labels_alone:
            allowed = f"0 or batch_size, with --method={self.method}"
            whole = self.labelled_batch_size in (0, self.batch_size)
            require(whole, "labelled_batch_size", allowed, self.labelled_batch_size)
        if labels_alone or num_labelled == num_images:  # there are no unlabelled images for the rest of a batch
            return self.batch_size
        if self.labelled_batch_size:
            return self.labelled_batch_size
        return max(1, round(self.batch_size * num_labelled / num_images))

    def to_json(self) -> str:
        """Returns the record as JSON, one setting per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Hyperparameters":
        """Parses the JSON that `to_json` returns.

        Raises:
            ValueError: If a setting is unknown, or its value not allowed.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"Hyper-parameters must be a JSON object. Received: {text.strip()[:40]!r}")
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Hyperparameters":
        """Makes the record from plain values; lists become tuples."""
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown:
            raise ValueError(
                f"Unknown hyper-parameters: {', '.join(unknown)}. This release knows {', '.join(sorted(names))}."
            )
        settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**settings)

    @classmethod
    def load(cls, workdir: str | pathlib.Path) -> "Hyperparameters":
        """Reads the hyper-parameters of the run in `workdir`.

        Raises:
            ValueError: If the folder holds no run, or none that this release can read.
        """
        path = pathlib.Path(workdir) / "hyperparameters.json"
        if not path.is_file():
            raise ValueError(f"--workdir must be the folder of a run, with a {path.name}. Received: {workdir}")
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"--workdir must hold a run of this release. Received: {path}: {error}") from error

    def identity(self) -> dict[str, Any]:
        """Returns the settings that make two runs the same: all but places, for which `data.json` has names and labels.

        The share of the images that --validation or --test holds out is a setting; a source of images is a place.
        """
        fields = {field.name: field.metadata["is_path"] for field in dataclasses.fields(self)}
        values = {name: getattr(self, name) for name in fields}
        shares = {name for name in ("validation", "test") if held_out_share(values[name]) is not None}
        return {name: value for name, value in values.items() if name in shares or not fields[name]}

    def differences(self, other: "Hyperparameters") -> dict[str, tuple[Any, Any]]:
        """Returns the settings in which two runs differ, places aside, as name → (here, there)."""
        here, there = self.identity(), other.identity()
        pairs = {name: (here.get(name, ""), there.get(name, "")) for name in {**here, **there}}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
