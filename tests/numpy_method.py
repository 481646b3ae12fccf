"""One whole step in plain NumPy loops, as the formulas of docs/reference/method.md read.

Nothing here is fast or clever, and nothing is taken from the code under test: `i` runs over online views, `j` over target
views, `b` over images, `m` over negatives, `r` over semantic positives. A queue is a Python list of `Entry`, oldest first;
random choices come in as arguments: `negatives[b, j, m]` is a row of the global batch, `slots[b][j][r]` a slot of the queues,
and `slots[b]` is empty where the class of image `b` is missing.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

NO_LABEL = -1
Array = np.ndarray[Any, Any]
Slots = Sequence[Sequence[Sequence[int]]]


class Entry(NamedTuple):
    """One labelled image's target projection in a queue."""

    embedding: Array
    label: int
    group: int


class Terms(NamedTuple):
    """The four terms of a step, in nats."""

    contrastive_augmentation: float
    contrastive_semantic: float
    invariance_augmentation: float
    invariance_semantic: float

    def total(self, *, contrastive_weight: float, semantic_weight: float, invariance_weight: float) -> float:
        """Returns `c·(L_AUGM + α·L_SEMPOS) + λ·(I_AUGM + I_SEMPOS)`."""
        contrastive = self.contrastive_augmentation + semantic_weight * self.contrastive_semantic
        invariance = self.invariance_augmentation + self.invariance_semantic
        return contrastive_weight * contrastive + invariance_weight * invariance


def dot(first: Array, second: Array) -> float:
    """Returns the inner product of two `[D]` vectors, added up one by one."""
    return math.fsum(float(x) * float(y) for x, y in zip(first, second, strict=True))


def normalise(vector: Array) -> Array:
    """Returns a `[D]` vector divided by its length."""
    return np.asarray(vector, np.float64) / math.sqrt(dot(vector, vector))


def enqueue(queue: Sequence[Entry], embeddings: Array, labels: Array, groups: Array, *, capacity: int) -> list[Entry]:
    """Appends the labelled images `[N, D]` in their order; the oldest leave first."""
    entries = list(queue)
    for embedding, label, group in zip(embeddings, labels, groups, strict=True):
        if label != NO_LABEL:
            entries.append(Entry(np.asarray(embedding), int(label), int(group)))
            if len(entries) > capacity:
                del entries[0]
    return entries


def neighbours(anchor: Array, group: int, queue: Sequence[Entry], k: int) -> list[tuple[int, float]]:
    """Returns label and similarity of the `k` entries most similar to `[D]` `anchor` that are not the image itself."""
    similarities = [(entry.label, dot(anchor, entry.embedding)) for entry in queue if entry.group != group]
    return sorted(similarities, key=lambda pair: -pair[1])[:k]


def vote(anchors: Array, group: int, queues: Sequence[Sequence[Entry]], k: int) -> tuple[int, float]:
    """Returns the class that one image's `[L, D]` anchors elect over the queues, and its share of the votes cast."""
    count: dict[int, int] = {}
    similarity: dict[int, float] = {}
    for i in range(len(anchors)):
        for j in range(len(queues)):
            for label, cosine in neighbours(anchors[i], group, queues[j], k):
                count[label] = count.get(label, 0) + 1
                similarity[label] = similarity.get(label, 0.0) + cosine
    if not count:
        return NO_LABEL, 0.0
    winner = min(count, key=lambda label: (-count[label], -similarity[label], label))
    return winner, count[winner] / sum(count.values())


def choose_classes(labels: Array, elected: Sequence[int]) -> Array:
    """Returns `[N]` classes: the label where it is known, else the elected class."""
    return np.array([label if label != NO_LABEL else voted for label, voted in zip(labels, elected, strict=True)])


def info_nce(anchor: Array, positive: Array, negatives: Sequence[Array], temperature: float) -> float:
    """Returns `ℓ(p; z, n_1..n_M)` in nats."""
    top = math.exp(dot(anchor, positive) / temperature)
    return -math.log(top / (top + math.fsum(math.exp(dot(anchor, n) / temperature) for n in negatives)))


def augmentation_loss(predictions: Array, targets: Array, negatives: Array, *, temperature: float) -> float:
    """Returns `L_AUGM` of `[V, N, D]` predictions and `[L, N, D]` targets."""
    values = []
    for i in range(len(predictions)):
        for j in range(len(targets)):
            for b in range(targets.shape[1]):
                others = [targets[j, m] for m in negatives[b, j]]
                values.append(info_nce(predictions[i, b], targets[j, b], others, temperature))
    return math.fsum(values) / len(values)


def semantic_loss(
    predictions: Array, targets: Array, negatives: Array, queues: Array, slots: Slots, *, temperature: float
) -> float:
    """Returns `L_SEMPOS`, with queues `[L, Q, D]`; a pair of views with no image left contributes 0."""
    pairs = []
    for i in range(len(predictions)):
        for j in range(len(targets)):
            images = []
            for b in range(targets.shape[1]):
                others = [targets[j, m] for m in negatives[b, j]]
                drawn = slots[b][j] if len(slots[b]) else ()
                losses = [info_nce(predictions[i, b], queues[j, r], others, temperature) for r in drawn]
                if losses:
                    images.append(math.fsum(losses) / len(losses))
            pairs.append(math.fsum(images) / len(images) if images else 0.0)
    return math.fsum(pairs) / len(pairs)


def softmax(logits: Sequence[float]) -> list[float]:
    """Returns the probabilities of a few logits."""
    total = math.fsum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def kl(teacher: Sequence[float], student: Sequence[float]) -> float:
    """Returns `KL(teacher ‖ student)` in nats."""
    return math.fsum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def augmentation_invariance(
    teachers: Array, students: Array, targets: Array, negatives: Array, *, temperature: float
) -> float:
    """Returns `I_AUGM` over large views `i ≠ j`: `P_ij` of the teachers' predictions, `P_ji` of the students'.

    Both are the online predictions `[V, N, D]`; they come apart so that finite differences can hold the teacher still.
    The candidates are `{b}` and the negatives drawn for `b` and `j`, for both sides.
    """
    values = []
    for i in range(len(targets)):
        for j in range(len(targets)):
            if i != j:
                for b in range(targets.shape[1]):
                    candidates = [b, *negatives[b, j]]
                    p_ij = softmax([dot(teachers[i, b], targets[j, c]) / temperature for c in candidates])
                    p_ji = softmax([dot(students[j, b], targets[i, c]) / temperature for c in candidates])
                    values.append(kl(p_ij, p_ji))
    return math.fsum(values) / len(values) if values else 0.0


def semantic_invariance(
    teachers: Array,
    students: Array,
    targets: Array,
    negatives: Array,
    queues: Array,
    slots: Slots,
    *,
    temperature: float,
) -> float:
    """Returns `I_SEMPOS`: the positive's column is the semantic positive's; images without one drop out."""
    pairs = []
    for i in range(len(targets)):
        for j in range(len(targets)):
            if i != j:
                images = []
                for b in range(targets.shape[1]):
                    divergences = []
                    for r in slots[b][j] if len(slots[b]) else ():
                        toward_j = [queues[j, r], *(targets[j, m] for m in negatives[b, j])]
                        toward_i = [queues[i, r], *(targets[i, m] for m in negatives[b, j])]
                        p_ij = softmax([dot(teachers[i, b], z) / temperature for z in toward_j])
                        p_ji = softmax([dot(students[j, b], z) / temperature for z in toward_i])
                        divergences.append(kl(p_ij, p_ji))
                    if divergences:
                        images.append(math.fsum(divergences) / len(divergences))
                pairs.append(math.fsum(images) / len(images) if images else 0.0)
    return math.fsum(pairs) / len(pairs) if pairs else 0.0


def terms(
    predictions: Array,
    targets: Array,
    negatives: Array,
    queues: Array,
    slots: Slots,
    *,
    temperature: float,
    teachers: Array | None = None,
) -> Terms:
    """Returns all four terms; the teachers are the predictions unless they are held still."""
    held = predictions if teachers is None else teachers
    return Terms(
        augmentation_loss(predictions, targets, negatives, temperature=temperature),
        semantic_loss(predictions, targets, negatives, queues, slots, temperature=temperature),
        augmentation_invariance(held, predictions, targets, negatives, temperature=temperature),
        semantic_invariance(held, predictions, targets, negatives, queues, slots, temperature=temperature),
    )
