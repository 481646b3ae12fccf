"""Health of embeddings and pseudo-labels during training, mostly without labels, and what to do about a bad one."""

import dataclasses

import numpy as np


def effective_rank(embeddings: np.ndarray) -> float:
    """Counts the directions that embeddings use: the exponential of the entropy of their normalised singular values.

    Args:
        embeddings: `[n, D]` embeddings.

    Returns:
        1 where all embeddings lie on one line, min(n, D) where all directions are used equally.

    Reference: Roy and Vetterli 2007; as a measure of collapse, RankMe, Garrido et al. 2023, arXiv 2210.02885, eq. 2.
    """
    values = np.linalg.svd(np.asarray(embeddings, np.float64), compute_uv=False)
    shares = values[values > 0] / values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Averages the squared distance between two views of an image; 0 where views agree, 2 where they are orthogonal.

    Args:
        first: `[n, D]` unit-norm embeddings of one view of each image.
        second: `[n, D]` unit-norm embeddings of another view.

    Reference: Wang and Isola 2020, arXiv 2005.10242, eq. 1 with α = 2.
    """
    return float(np.mean(np.sum(np.square(first - second), axis=1)))


def uniformity(embeddings: np.ndarray) -> float:
    """Returns the logarithm of the mean Gaussian potential of pairs: 0 for one point, about −4 where evenly spread.

    Args:
        embeddings: `[n, D]` unit-norm embeddings, n ≥ 2.

    Reference: Wang and Isola 2020, arXiv 2005.10242, eq. 2 with t = 2.
    """
    similarities = (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
    return float(np.log(np.mean(np.exp(-2 * (2 - 2 * similarities)))))


def spread(embeddings: np.ndarray) -> float:
    """Returns 1 − ‖mean‖² of `[n, D]` unit-norm embeddings: 0 for one point, near 1 while embeddings differ."""
    return float(1 - np.sum(np.square(embeddings.mean(0))))


def view_agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the share of images whose first view is nearest to the image's own second view among all second views.

    Args:
        first: `[n, D]` unit-norm embeddings of one view of each image.
        second: `[n, D]` unit-norm embeddings of another view.
    """
    return float(np.mean(np.argmax(first @ second.T, axis=1) == np.arange(len(first))))


def view_separation(first: np.ndarray, second: np.ndarray) -> float:
    """Returns how much more similar two views of one image are than views of two images, as mean cosine similarities.

    Args:
        first: `[n, D]` unit-norm embeddings of one view of each image, n ≥ 2.
        second: `[n, D]` unit-norm embeddings of another view.
    """
    similarities = first @ second.T
    own = np.eye(len(first), dtype=bool)
    return float(similarities[own].mean() - similarities[~own].mean())


def class_entropy(classes: np.ndarray, num_classes: int) -> float:
    """Returns the entropy of the frequencies of classes, as a share of its maximum log C: 1 where all are equally frequent.

    Args:
        classes: Integers `[n]` in 0..C − 1.
        num_classes: Number of classes, C; with one class, the entropy is 1.
    """
    if num_classes < 2:
        return 1.0
    shares = np.bincount(classes, minlength=num_classes) / max(len(classes), 1)
    shares = shares[shares > 0]
    return float(-np.sum(shares * np.log(shares)) / np.log(num_classes))


@dataclasses.dataclass
class Findings:
    """Finds what is wrong with a run, from its measures at one step after another; each finding is reported once.

    Attributes:
        last_step: Last step of the run.
        width: Width D of the embeddings.
        labelled_entropy: `class_entropy` of the labelled training images.
        held_out: Number of held-out images behind the accuracy.
    """

    last_step: int
    width: int
    labelled_entropy: float = 1.0
    held_out: int = 0
    _best: tuple[float, int] = (0.0, 0)
    _found: set[str] = dataclasses.field(default_factory=set)

    COLLAPSED_RANK = 2.0
    COLLAPSED_SPREAD = 0.05
    FEW_CLASSES = 0.5
    MIN_SEPARATION = 0.05
    MIN_FALL = 0.05

    def of(self, step: int, measures: dict[str, float]) -> list[str]:
        """Returns sentences about what is wrong at a step, each with a remedy; of a kind, the first only.

        Args:
            step: Number of steps taken.
            measures: Measures by name, as `Examination` returns them.
        """
        kinds = {
            "collapse": self._collapse(measures),
            "classes": self._few_classes(step, measures),
            "views": self._views(step, measures),
            "accuracy": self._fall(step, measures),
        }
        new = {kind: text for kind, text in kinds.items() if text and kind not in self._found}
        self._found |= set(new)
        return list(new.values())

    def _collapse(self, measures: dict[str, float]) -> str:
        rank, spread_now = measures["effective_rank"], measures["spread"]
        if rank >= min(self.COLLAPSED_RANK, self.width / 2) and spread_now >= self.COLLAPSED_SPREAD:
            return ""
        return (
            f"Embeddings are collapsing: effective rank {rank:.1f} of {self.width}, spread {spread_now:.3f}. Lower"
            " --learning_rate, raise --batch_size or, with semppl, relic and relicv2, --negatives"
        )

    def _few_classes(self, step: int, measures: dict[str, float]) -> str:
        entropy = measures.get("vote_entropy", 1.0)
        if 2 * step < self.last_step or entropy >= self.FEW_CLASSES * self.labelled_entropy:
            return ""
        return (
            f"Pseudo-labels favour few classes: entropy {entropy:.2f}, where the labelled images have {self.labelled_entropy:.2f}"
            " and 1 is all classes equally often. Set --prior_corrected_votes or --queue_quotas"
        )

    def _views(self, step: int, measures: dict[str, float]) -> str:
        separation = measures.get("view_separation", 1.0)
        if 2 * step < self.last_step or separation >= self.MIN_SEPARATION:
            return ""
        return (
            f"Two views of an image are hardly more similar than views of two images (difference of cosines {separation:.3f})."
            " Choose a --recipe with weaker augmentations, or, with semppl, relic and relicv2, raise --contrastive_weight"
        )

    def _fall(self, step: int, measures: dict[str, float]) -> str:
        accuracy = measures.get("held_out_accuracy", 0.0)
        best, at = self._best
        if accuracy >= best:
            self._best = accuracy, step
            return ""
        noise = 2 * np.sqrt(best * (1 - best) / max(self.held_out, 1))
        if best - accuracy < max(self.MIN_FALL, noise):
            return ""
        return (
            f"Held-out accuracy fell from {best:.3f} at step {at} to {accuracy:.3f}. Lower --learning_rate, or train for fewer"
            f" --steps than {self.last_step}"
        )
