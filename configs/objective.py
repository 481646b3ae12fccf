"""The objective: the method, its queues of labelled embeddings, and the weights of the loss's terms."""

import dataclasses
import itertools

from semppl.configs.setting import Settings, require, setting


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings(Settings):
    """What is minimised.

    Reference: SemPPL, arXiv 2301.05158; docs/reference/method.md has the source of every default.
    """

    method: str = setting(
        "objective",
        "semppl",
        "Training method, such as semppl, supervised, simclr or byol; docs/reference/method.md lists all.",
    )
    temperature: float = setting("objective", 0.2, "τ, softmax temperature: divides every similarity.")
    negatives: int = setting(
        "objective", 10, "M, negatives per image and target view: other images of the global batch."
    )
    same_class_negatives: bool = setting(
        "objective",
        True,
        "Whether the negatives of an image may include images with the same label or pseudo-label; if not, these are never drawn "
        "while others remain.",
    )
    semantic_positives: int = setting(
        "objective",
        3,
        "R, semantic positives per image and queue: entries with the image's class or pseudo-label; 0: none.",
    )
    neighbours: int = setting("objective", 1, "K, nearest neighbours that vote per pair of view and queue.")
    min_vote_share: float = setting(
        "objective",
        0.0,
        "Smallest share of the votes, in 0..1, with which an unlabelled image gets a pseudo-label; below it, the image gets none.",
    )
    min_pseudo_label_coverage: float = setting(
        "objective",
        0.0,
        "Smallest share of the unlabelled images of a batch, in 0..1, that get a pseudo-label: if fewer reach --min_vote_share, "
        "those with the largest vote shares get one too.",
    )
    queue_size: int = setting(
        "objective",
        0,
        "Q, entries per queue: embeddings of labelled images, or with moco and nnclr of all; 0: 20 global batches.",
    )
    queue_quotas: bool = setting(
        "objective",
        False,
        "Whether every class has Q / classes slots of its own in a queue, so that frequent classes do not displace rare ones.",
    )
    voting_views: int = setting(
        "objective",
        0,
        "Number of large views whose predictions vote, each against the queues of as many views; 0: all of --large_views.",
    )
    prior_corrected_votes: bool = setting(
        "objective", False, "Whether each vote is weighted by the inverse of its class's share of the filled queue."
    )
    contrastive_weight: float = setting("objective", 0.3, "c, weight of the contrastive terms.")
    semantic_weight: float = setting(
        "objective", 0.2, "α, weight of the semantic positives within the contrastive terms."
    )
    invariance_weight: float = setting("objective", 5.0, "λ, weight of the invariance terms.")
    invariance_stop_gradient: bool = setting(
        "objective",
        True,
        "Whether the first distribution of each divergence of the invariance terms is without gradient, so that only the second "
        "one is drawn to it.",
    )
    nested_dims: tuple[int, ...] = setting(
        "objective",
        (),
        "Numbers of leading dimensions, such as 8,16,32, at which the loss also compares embeddings, scaled to unit norm "
        "(Matryoshka representations), so that an export can keep these alone (--embedding_dims); empty: whole embeddings only.",
    )
    compatible_with: str = setting(
        "objective",
        "",
        "Folder of an older run (backward-compatible training): the loss also pulls the projections of large views towards those "
        "that the older run's frozen network computes, so that an index of the older run can be searched; empty: none.",
    )
    compatible_weight: float = setting(
        "objective", 1.0, "Weight of the cosine distance to the projections of --compatible_with; positive."
    )

    def check(self) -> None:
        """Validates the group."""
        require(self.temperature > 0, "temperature", "positive", self.temperature)
        require(self.negatives >= 1, "negatives", "1 or more", self.negatives)
        require(self.semantic_positives >= 0, "semantic_positives", "0 or more", self.semantic_positives)
        require(self.queue_size >= 0, "queue_size", "0 or more", self.queue_size)
        require(self.voting_views >= 0, "voting_views", "0 or more", self.voting_views)
        require(0 <= self.min_vote_share <= 1, "min_vote_share", "in 0..1", self.min_vote_share)
        coverage = self.min_pseudo_label_coverage
        require(0 <= coverage <= 1, "min_pseudo_label_coverage", "in 0..1", coverage)
        weights = ("contrastive_weight", "semantic_weight", "invariance_weight")
        self.require_each(weights, lambda weight: weight >= 0, "0 or more")
        rising = all(lower < upper for lower, upper in itertools.pairwise((0, *self.nested_dims)))
        require(rising, "nested_dims", "increasing whole numbers of 1 or more", self.nested_dims)
        require(self.compatible_weight > 0, "compatible_weight", "positive", self.compatible_weight)
        if not self.compatible_with:
            self.require_defaults(("compatible_weight",), "without --compatible_with")


WITHOUT_LABELS = ("barlow_twins", "byol", "moco", "nnclr", "relic", "relicv2", "simclr", "swav")
"""Names of the methods that need no label, unless they have semantic positives; all other methods need labels."""

COMPATIBILITY = ("compatible_with", "compatible_weight")
"""Names of the settings of backward-compatible training."""

OBJECTIVE = tuple(
    field.name for field in dataclasses.fields(ObjectiveSettings) if field.name not in ("method", *COMPATIBILITY)
)
"""Names of the objective's other settings."""

OF_METHODS = (*OBJECTIVE, "target_decay", *COMPATIBILITY)
"""Names of the settings that not every method uses, beside those that begin with a method's name."""
