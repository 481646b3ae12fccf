"""Everything that decides a run's numbers, in one frozen, self-validating record."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

Setting = Any


def setting(group: str, default: Setting, meaning: str) -> Setting:
    """Declares a hyper-parameter: the group it is listed under, its default, and what it means, with its unit."""
    return dataclasses.field(default=default, metadata={"group": group, "help": meaning})


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """The hyper-parameters of one pre-training run; each is a flag of the same name.

    Raises:
        ValueError: on construction, if a value is not allowed or two do not go together; one line that names the flag.

    Reference: SemPPL, arXiv 2301.05158; docs/method.md has the source of every default.
    """

    method: str = setting("objective", "semppl", "What is trained: semppl, or supervised (on the labels alone).")
    # data
    data: str = setting(
        "data",
        "digits",
        "Training images, sources with commas between: `digits` (embedded), `tfds:NAME[:SPLIT]`, `folder:PATH`, "
        "`folder:PATH?labels=FILE.csv` `folder:PATH?labels=folders` or `tfrecord:GLOB`.",
    )
    validation: str = setting(
        "data",
        "",
        "Images to choose settings by: as --data, or the share of the labelled ones to hold out; empty: none.",
    )
    test: str = setting(
        "data", "", "Images to judge by at the end: as --validation; empty: those that come with --data, if any."
    )
    split_seed: int = setting("data", 0, "Seed of the draw of the images that are held out.")
    data_dir: str = setting("data", "", "Folder of prepared tensorflow-datasets; empty: theirs by default.")
    labels_per_class: int = setting("data", 0, "Labelled images per class; 0: see --label_fraction.")
    label_fraction: float = setting(
        "data", 0.0, "Share of the training images that keep their label, in (0, 1], stratified."
    )
    label_list: str = setting("data", "", "File with the labelled images, one index or file name a line.")
    label_seed: int = setting("data", 0, "Seed of the draw of the labelled images.")
    class_balance: bool = setting(
        "data",
        False,
        "Draw labelled images so that every class comes equally often, into batches and so into the queue.",
    )
    channels: int = setting(
        "data", 0, "C: 1 grey, 3 red, green and blue, or more of anything; 0: as many as --pixel_mean has values."
    )
    shrink: int = setting(
        "data",
        0,
        "Shorter side, in pixels, that larger pictures of a folder are shrunk to before views are cut; 0: as they are.",
    )
    cache_dir: str = setting(
        "data", "", "Folder to keep decoded and shrunk pictures in; empty: they are decoded each time."
    )
    image_feature: str = setting("data", "image", "Of `tfrecord:`: the feature with the picture file.")
    label_feature: str = setting(
        "data", "label", "Of `tfrecord:`: the feature with its class, an integer; may be missing."
    )
    mask_feature: str = setting(
        "data",
        "",
        "Of `tfds:` and `tfrecord:` in --data: the feature with the mask, a picture that is black where the other one shows "
        "background; empty: there is none.",
    )
    name_feature: str = setting("data", "", "Of `tfrecord:`: the feature with its name; empty: it has none.")
    truncated: str = setting("data", "skip", "Picture files that end too early: skip, or keep what there is of them.")
    max_pixels: int = setting("data", 100_000_000, "Picture files that say they hold more pixels are skipped.")
    max_bad_fraction: float = setting(
        "data", 0.01, "Share of a folder's pictures that may be skipped, in 0..1; with more the run does not start."
    )
    # views
    recipe: str = setting("views", "imagenet", "Augmentation recipe: digits, cifar, gentle, grey, imagenet, identity.")
    large_views: int = setting("views", 4, "L: large views per image; through the online and the target network.")
    small_views: int = setting("views", 2, "S: small views per image; through the online network only.")
    large_size: int = setting("views", 224, "Side of a large view, in pixels.")
    small_size: int = setting("views", 96, "Side of a small view, in pixels.")
    mask_probability: float = setting(
        "views", 0.1, "p_m: how often a large view loses its background, where masks are given."
    )
    # networks
    encoder: str = setting("networks", "resnet50", "Encoder: convnet, resnet50, …; docs/encoders.md lists all.")
    width: float = setting("networks", 1.0, "Multiplies the encoder's channels.")
    norm: str = setting(
        "networks", "batch", "Normalisation: batch (over all replicas), or group (with weight standardisation)."
    )
    head_width: int = setting("networks", 4096, "Units in the hidden layer of projector and predictor.")
    embedding_width: int = setting("networks", 256, "D: width of projections and predictions.")
    pixel_mean: tuple[float, ...] = setting("networks", (0.485, 0.456, 0.406), "Subtracted from each channel, in 0..1.")
    pixel_stddev: tuple[float, ...] = setting("networks", (0.229, 0.224, 0.225), "Divides each channel afterwards.")
    initial_run: str = setting(
        "networks", "", "Run folder, of an import for one, whose encoder this run starts from; empty: random weights."
    )
    # objective
    temperature: float = setting("objective", 0.2, "τ: divides every similarity.")
    negatives: int = setting("objective", 10, "M: other images of the global batch, per image and target view.")
    semantic_positives: int = setting(
        "objective", 3, "R: queue entries of the image's class, per image and queue; 0: none."
    )
    neighbours: int = setting("objective", 1, "K: votes per (view, queue) pair.")
    min_vote_share: float = setting(
        "objective", 0.0, "Share of its votes that an unlabelled image's class needs, in 0..1; with less it gets none."
    )
    queue_size: int = setting("objective", 0, "Q: labelled entries per queue; 0: 20 global batches.")
    queue_quotas: bool = setting(
        "objective",
        False,
        "Give every class Q / classes slots of its own in a queue: frequent ones push no rare ones out.",
    )
    prior_corrected_votes: bool = setting(
        "objective", False, "Weigh each vote by the inverse of its class's share of the filled queue."
    )
    contrastive_weight: float = setting("objective", 0.3, "c: weight of the contrastive terms.")
    semantic_weight: float = setting(
        "objective", 0.2, "α: weight of the semantic positives within the contrastive terms."
    )
    invariance_weight: float = setting("objective", 5.0, "λ: weight of the invariance terms.")
    # optimisation
    batch_size: int = setting("optimisation", 4096, "N: images per step, over all replicas.")
    labelled_batch_size: int = setting("optimisation", 0, "Labelled images among them; 0: their natural share.")
    steps: int = setting("optimisation", 0, "Length of the run in steps; 0: not none, but as many as --epochs takes.")
    epochs: float = setting("optimisation", 300.0, "Length of the run in passes over the training images.")
    optimiser: str = setting("optimisation", "lars", "lars or adamw.")
    learning_rate: float = setting(
        "optimisation", 0.3, "Peak learning rate at a batch of 256; scaled by batch_size / 256."
    )
    warmup_epochs: float = setting("optimisation", 10.0, "Linear warm-up, in passes over the training images.")
    warmup_steps: int = setting("optimisation", -1, "Linear warm-up in steps; -1: see --warmup_epochs.")
    weight_decay: float = setting(
        "optimisation",
        1e-6,
        "Not on biases and norms; LARS adds it to the gradient, AdamW multiplies it by the learning rate.",
    )
    momentum: float = setting("optimisation", 0.9, "Share of earlier gradients that is kept: of LARS, and β₁ of AdamW.")
    trust_coefficient: float = setting(
        "optimisation",
        1e-3,
        "η of LARS: length of a step as a share of the weights' norm, times the learning rate; positive.",
    )
    target_decay: float = setting("optimisation", 0.99, "Base of the target network's decay; rises to 1 over the run.")
    precision: str = setting(
        "optimisation",
        "float32",
        "Of the networks: float32 (which GPUs multiply as TF32 and TPUs in passes of bfloat16, as TensorFlow does by default), "
        "or bfloat16 between float32 variables.",
    )
    accumulate_steps: int = setting(
        "optimisation",
        1,
        "k: micro-batches that a replica's images go through the networks in, for small memory; the objective sees the whole "
        "batch, batch norm a micro-batch of all replicas.",
    )
    gradient_checkpointing: bool = setting(
        "optimisation",
        False,
        "Whether a ResNet computes the activations within its blocks again for the gradient instead of keeping them.",
    )
    seed: int = setting("optimisation", 0, "Of initial weights, batches, augmentations and draws.")

    def __post_init__(self) -> None:
        for rule in (
            self._check_types,
            self._check_data,
            self._check_labels,
            self._check_views,
            self._check_objective,
            self._check_batch,
            self._check_length,
        ):
            rule()
        object.__setattr__(self, "channels", len(self.pixel_mean))

    @property
    def views(self) -> int:
        """V = L + S."""
        return self.large_views + self.small_views

    @property
    def brings_labels(self) -> bool:
        """Whether the data themselves say which images have a label, so that none need be hidden."""
        return any(f",{self.data}".find(f",{key}:") >= 0 for key in _OWN_LABELS)

    @property
    def capacity(self) -> int:
        """Q, with its default of 20 global batches."""
        return self.queue_size or 20 * self.batch_size

    @property
    def network(self) -> dict[str, Any]:
        """The arguments of the networks."""
        names = ("encoder", "width", "norm", "head_width", "embedding_width", "pixel_mean", "pixel_stddev")
        return {name: getattr(self, name) for name in names}

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        return self.learning_rate * self.batch_size / 256

    def resolved(self, *, num_images: int, num_labelled: int, replicas: int) -> "Hyperparameters":
        """Replaces every default that depends on the data or the devices by its value.

        Args:
            num_images: training images.
            num_labelled: those with a label.
            replicas: replicas in sync.

        Raises:
            ValueError: if the batch cannot be filled, or not be shared equally.
        """
        labelled = self._resolved_labelled_batch_size(num_images, num_labelled)
        for flag, size in (("batch_size", self.batch_size), ("labelled_batch_size", labelled)):
            _require(
                size % replicas == 0,
                flag,
                f"a multiple of the {replicas} replicas, say {max(1, round(size / replicas)) * replicas}",
                size,
            )
        _require(
            self.batch_size // replicas % self.accumulate_steps == 0,
            "accumulate_steps",
            f"a divisor of the {self.batch_size // replicas} images of a replica",
            self.accumulate_steps,
        )
        steps = self.steps or max(1, int(self.epochs * num_images / self.batch_size))
        warmup = self.warmup_steps if self.warmup_steps >= 0 else int(self.warmup_epochs * num_images / self.batch_size)
        _require(
            warmup < steps,
            "warmup_steps" if self.warmup_steps >= 0 else "warmup_epochs",
            f"below the {steps} steps",
            warmup,
        )
        return dataclasses.replace(
            self, labelled_batch_size=labelled, queue_size=self.capacity, steps=steps, warmup_steps=warmup
        )

    def _resolved_labelled_batch_size(self, num_images: int, num_labelled: int) -> int:
        given = next((name for name in _LABEL_CHOICES if getattr(self, name)), "data")
        _require(num_labelled > 0, given, "such that an image has a label", getattr(self, given))
        if self.method == "supervised" or num_labelled == num_images:
            _require(
                self.labelled_batch_size in (0, self.batch_size),
                "labelled_batch_size",
                "0 or batch_size, where every image has a label or --method=supervised",
                self.labelled_batch_size,
            )
            return self.batch_size
        if self.labelled_batch_size:
            return self.labelled_batch_size
        return max(1, round(self.batch_size * num_labelled / num_images))

    def _check_types(self) -> None:
        for field in dataclasses.fields(self):
            kind, value = type(field.default), getattr(self, field.name)
            fits, allowed = _KINDS[kind]
            _require(fits(value), field.name, allowed, value)

    def _check_data(self) -> None:
        _require(self.truncated in ("skip", "keep"), "truncated", "skip or keep", self.truncated)
        _require(1 <= self.max_pixels <= MAX_PIXELS, "max_pixels", f"in 1..{MAX_PIXELS}", self.max_pixels)
        _require(0 <= self.max_bad_fraction <= 1, "max_bad_fraction", "in 0..1", self.max_bad_fraction)
        _require(self.shrink == 0 or self.shrink >= 8, "shrink", "0, or 8 or more pixels", self.shrink)
        for name in ("validation", "test"):
            share = held_out_share(getattr(self, name))
            _require(share is None or 0 < share < 1, name, "a source, or a share in (0, 1)", getattr(self, name))

    def _check_labels(self) -> None:
        chosen = [f"--{name}={getattr(self, name)}" for name in _LABEL_CHOICES if getattr(self, name)]
        if len(chosen) > 1 or not (chosen or self.brings_labels):
            choices = ", ".join(f"--{name}" for name in _LABEL_CHOICES)
            raise ValueError(f"Exactly one of {choices} must be given. Received: {' '.join(chosen) or 'none'}")
        _require(self.labels_per_class >= 0, "labels_per_class", "0 or more", self.labels_per_class)
        _require(0 <= self.label_fraction <= 1, "label_fraction", "in 0..1", self.label_fraction)

    def _check_views(self) -> None:
        _require(self.large_views >= 1, "large_views", "1 or more", self.large_views)
        _require(self.small_views >= 0, "small_views", "0 or more", self.small_views)
        _require(self.large_size >= 8, "large_size", "8 or more pixels", self.large_size)
        _require(self.small_size >= 8, "small_size", "8 or more pixels", self.small_size)
        _require(0 <= self.mask_probability <= 1, "mask_probability", "in 0..1", self.mask_probability)
        _require(self.width > 0, "width", "positive", self.width)
        _require(self.norm in ("batch", "group"), "norm", "batch or group", self.norm)
        _require(self.head_width >= 1, "head_width", "1 or more", self.head_width)
        _require(self.embedding_width >= 1, "embedding_width", "1 or more", self.embedding_width)
        _require(self.channels >= 0, "channels", "0 or more", self.channels)
        per_channel = f"a value per channel, {self.channels}"
        _require(self.channels in (0, len(self.pixel_mean)), "pixel_mean", per_channel, self.pixel_mean)
        allowed = f"as many values as pixel_mean, {len(self.pixel_mean)}, all positive"
        fits = len(self.pixel_stddev) == len(self.pixel_mean) and all(value > 0 for value in self.pixel_stddev)
        _require(fits, "pixel_stddev", allowed, self.pixel_stddev)

    def _check_objective(self) -> None:
        _require(self.temperature > 0, "temperature", "positive", self.temperature)
        _require(self.negatives >= 1, "negatives", "1 or more", self.negatives)
        _require(self.semantic_positives >= 0, "semantic_positives", "0 or more", self.semantic_positives)
        _require(self.queue_size >= 0, "queue_size", "0 or more", self.queue_size)
        _require(1 <= self.neighbours <= self.capacity, "neighbours", f"in 1..{self.capacity}", self.neighbours)
        _require(0 <= self.min_vote_share <= 1, "min_vote_share", "in 0..1", self.min_vote_share)
        for name in ("contrastive_weight", "semantic_weight", "invariance_weight", "weight_decay", "learning_rate"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _require(self.method in ("semppl", "supervised"), "method", "semppl or supervised", self.method)
        _require(self.optimiser in ("lars", "adamw"), "optimiser", "lars or adamw", self.optimiser)
        _require(self.precision in ("float32", "bfloat16"), "precision", "float32 or bfloat16", self.precision)
        _require(self.trust_coefficient > 0, "trust_coefficient", "positive", self.trust_coefficient)
        _require(0 <= self.momentum < 1, "momentum", "in 0..1, below 1", self.momentum)
        _require(0 <= self.target_decay <= 1, "target_decay", "in 0..1", self.target_decay)
        for name in ("seed", "label_seed", "split_seed"):
            _require(0 <= getattr(self, name) < 2**32, name, "in 0..2**32 - 1", getattr(self, name))

    def _check_batch(self) -> None:
        enough = f"at least negatives + 1 = {self.negatives + 1}"
        _require(self.batch_size >= self.negatives + 1, "batch_size", enough, self.batch_size)
        below = f"in 0..batch_size={self.batch_size}"
        _require(
            0 <= self.labelled_batch_size <= self.batch_size, "labelled_batch_size", below, self.labelled_batch_size
        )
        divides = f"a divisor of batch_size={self.batch_size}"
        steps = self.accumulate_steps
        _require(steps >= 1 and self.batch_size % steps == 0, "accumulate_steps", divides, steps)
        has_blocks = "resnet" in self.encoder or not self.gradient_checkpointing
        _require(has_blocks, "gradient_checkpointing", "false with an encoder that is no ResNet", self.encoder)
        holds = f"at least the labelled images of a batch, {self.labelled_batch_size}"
        _require(self.capacity >= self.labelled_batch_size, "queue_size", holds, self.capacity)

    def _check_length(self) -> None:
        _require(
            self.steps > 0 or (self.steps == 0 and self.epochs > 0),
            "steps",
            "positive, or 0, which means as many as --epochs (above 0) takes",
            self.steps,
        )
        _require(self.warmup_epochs >= 0, "warmup_epochs", "0 or more", self.warmup_epochs)
        _require(self.warmup_steps >= -1, "warmup_steps", "-1 or more", self.warmup_steps)

    def to_json(self) -> str:
        """Returns the record as JSON, one setting a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Hyperparameters":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: if a setting is unknown, or not allowed.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"Hyper-parameters must be a JSON object. Received: {text.strip()[:40]!r}")
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Hyperparameters":
        """Makes the record from plain values; lists become tuples."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"Unknown hyper-parameters: {', '.join(unknown)}. This release knows {', '.join(sorted(known))}."
            )
        settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**settings)

    @classmethod
    def load(cls, workdir: str | pathlib.Path) -> "Hyperparameters":
        """Reads the hyper-parameters of the run in `workdir`.

        Raises:
            ValueError: if there is no run, or none that this release can read, naming the folder.
        """
        path = pathlib.Path(workdir) / "hyperparameters.json"
        if not path.is_file():
            raise ValueError(f"--workdir must be the folder of a run, with a {path.name}. Received: {workdir}")
        try:
            return cls.from_json(path.read_text())
        except ValueError as error:
            raise ValueError(f"--workdir must hold a run of this release. Received: {path}: {error}") from error

    def differences(self, other: "Hyperparameters") -> dict[str, tuple[Any, Any]]:
        """Returns the settings that differ, as name → (here, there)."""
        here, there = dataclasses.asdict(self), dataclasses.asdict(other)
        return {name: (here[name], there[name]) for name in here if here[name] != there[name]}


def held_out_share(spec: str) -> float | None:
    """Reads a share of images, as in --test=0.1; None if it is something else, a source."""
    try:
        return float(spec)
    except ValueError:
        return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _are_finite(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(_is_finite(part) for part in value)


MAX_PIXELS = 178_956_970  # where Pillow gives up
_OWN_LABELS = ("folder", "tfrecord")  # sources of which the user said himself what has a label
_LABEL_CHOICES = ("labels_per_class", "label_fraction", "label_list")
_KINDS: dict[type, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (_is_whole, "a whole number"),
    float: (_is_finite, "a finite number"),
    str: (lambda value: isinstance(value, str), "a text"),
    tuple: (_are_finite, "finite numbers, one per channel"),
}


def _require(holds: bool, flag: str, allowed: str, received: Any) -> None:
    if not holds:
        raise ValueError(f"--{flag} must be {allowed}. Received: {received}")
