"""Settings of single methods of the family; each applies to the method that its name begins with."""

import dataclasses

from semppl.configs.setting import Settings, require, setting

PREDICTORS = ("mlp", "direct_copy", "direct_pred", "visser", "newton_schulz", "ns2", "stiefel")
"""BYOL's predictors: a trained one, and linear ones in closed form."""


@dataclasses.dataclass(frozen=True)
class FamilySettings(Settings):
    """What single methods need beside the objective's settings.

    Raises:
        ValueError: If a setting of one method is changed for another.
    """

    byol_predictor: str = setting(
        "family",
        "mlp",
        "Predictor of BYOL: mlp (trained), or a linear predictor in closed form, from the covariance Σ of the projections: "
        "direct_copy (Σ), direct_pred, visser and newton_schulz (Σ^½), ns2 (Σ^¼), stiefel (nearest orthogonal matrix).",
    )
    byol_predictor_ridge: float = setting(
        "family",
        0.6,
        "Added to the diagonal of Σ, whose mean is 1, before BYOL's closed-form predictor is computed from Σ.",
    )
    byol_predictor_decay: float = setting(
        "family", 0.9, "Decay of the moving average of Σ, from which BYOL's closed-form predictor is computed."
    )
    byol_semantic_weight: float = setting(
        "family",
        0.0,
        "α, weight in BYOL's loss of semantic positives, which are drawn from a queue of labelled images; 0: none.",
    )
    simclr_semantic_weight: float = setting(
        "family",
        0.0,
        "α, weight in SimCLR's loss of semantic positives, which are drawn from a queue of labelled images; 0: none.",
    )
    simclr_class_prior: float = setting(
        "family", 0.0, "τ⁺ of debiased SimCLR: probability that another image has the anchor's class; 0: not debiased."
    )
    barlow_twins_redundancy_weight: float = setting(
        "family", 0.0051, "λ of Barlow Twins, weight of the correlations of different dimensions."
    )
    swav_prototypes: int = setting("family", 3000, "K, number of SwAV's prototypes.")
    swav_epsilon: float = setting(
        "family",
        0.05,
        "ε of SwAV, weight of the entropy of the assignments: the smaller, the nearer to 0 and 1 they are.",
    )
    swav_frozen_steps: int = setting(
        "family", 313, "Number of steps at the start in which SwAV's prototypes stay fixed."
    )
    fixmatch_threshold: float = setting(
        "family", 0.95, "τ of FixMatch, confidence threshold: smallest probability of a pseudo-label, in 0..1."
    )
    fixmatch_consistency_weight: float = setting(
        "family", 1.0, "λ_u of FixMatch, weight of the consistency loss on images with a pseudo-label."
    )
    fixmatch_adaptive_thresholds: bool = setting(
        "family", False, "Whether FixMatch uses FreeMatch's self-adaptive confidence thresholds, one per class."
    )
    fixmatch_threshold_decay: float = setting(
        "family",
        0.999,
        "λ of FreeMatch, decay of the moving averages of predictions from which the thresholds are computed.",
    )
    fixmatch_fairness_weight: float = setting(
        "family", 0.001, "w_f of FreeMatch, weight of the self-adaptive fairness loss, which keeps all classes in use."
    )
    simmatch_threshold: float = setting(
        "family", 0.95, "Confidence threshold of SimMatch: smallest probability of a pseudo-label, in 0..1."
    )
    simmatch_smoothing: float = setting(
        "family",
        0.9,
        "α of SimMatch, weight of the classifier's prediction in a soft pseudo-label, in 0..1; the memory bank has the rest.",
    )
    simmatch_consistency_weight: float = setting(
        "family", 1.0, "λ_u of SimMatch, weight of the consistency loss on images with a pseudo-label."
    )
    simmatch_instance_weight: float = setting(
        "family", 1.0, "λ_in of SimMatch, weight of the loss on similarities to the memory bank of labelled images."
    )
    simmatch_alignment_batches: int = setting(
        "family", 32, "Number of latest batches whose mean prediction SimMatch's distribution alignment makes uniform."
    )
    simmatch_delay_steps: int = setting(
        "family", 1024, "Number of steps at the start in which SimMatch fills its memory bank without using it."
    )
    paws_sharpening: float = setting(
        "family", 0.25, "T of PAWS, temperature that sharpens targets: the lower, the nearer to one-hot."
    )
    paws_label_smoothing: float = setting(
        "family", 0.1, "Label smoothing of PAWS: share of each label that is spread evenly over the classes, in [0, 1)."
    )
    paws_me_max_weight: float = setting(
        "family",
        1.0,
        "Weight of PAWS' mean-entropy maximisation (me-max), which makes all classes equally frequent; 0: none.",
    )

    def check(self) -> None:
        """Validates the group."""
        require(
            self.byol_predictor in PREDICTORS, "byol_predictor", f"one of {', '.join(PREDICTORS)}", self.byol_predictor
        )
        require(self.byol_predictor_ridge >= 0, "byol_predictor_ridge", "0 or more", self.byol_predictor_ridge)
        require(0 <= self.byol_predictor_decay < 1, "byol_predictor_decay", "in [0, 1)", self.byol_predictor_decay)
        self.require_each(("byol_semantic_weight", "simclr_semantic_weight"), lambda weight: weight >= 0, "0 or more")
        for name in ("byol_predictor_ridge", "byol_predictor_decay"):
            value, default = getattr(self, name), getattr(FamilySettings, name)
            fits = self.byol_predictor != "mlp" or value == default
            require(fits, name, f"{default} with --byol_predictor=mlp", value)
        require(0 <= self.simclr_class_prior < 1, "simclr_class_prior", "in [0, 1)", self.simclr_class_prior)
        weight = self.barlow_twins_redundancy_weight
        require(weight >= 0, "barlow_twins_redundancy_weight", "0 or more", weight)
        require(self.swav_prototypes >= 2, "swav_prototypes", "2 or more", self.swav_prototypes)
        require(self.swav_epsilon > 0, "swav_epsilon", "positive", self.swav_epsilon)
        require(self.swav_frozen_steps >= 0, "swav_frozen_steps", "0 or more", self.swav_frozen_steps)
        decay = self.fixmatch_threshold_decay
        require(0 <= decay < 1, "fixmatch_threshold_decay", "in [0, 1)", decay)
        shares = ("fixmatch_threshold", "simmatch_threshold", "simmatch_smoothing")
        self.require_each(shares, lambda share: 0 <= share <= 1, "in 0..1")
        require(
            self.simmatch_alignment_batches >= 1,
            "simmatch_alignment_batches",
            "1 or more",
            self.simmatch_alignment_batches,
        )
        require(self.simmatch_delay_steps >= 0, "simmatch_delay_steps", "0 or more", self.simmatch_delay_steps)
        require(self.paws_sharpening > 0, "paws_sharpening", "positive", self.paws_sharpening)
        require(0 <= self.paws_label_smoothing < 1, "paws_label_smoothing", "in [0, 1)", self.paws_label_smoothing)
        weights: tuple[str, ...] = ("fixmatch_consistency_weight", "fixmatch_fairness_weight")
        weights += ("simmatch_consistency_weight", "simmatch_instance_weight", "paws_me_max_weight")
        self.require_each(weights, lambda weight: weight >= 0, "0 or more")
        self._require_used_thresholds()

    def _require_used_thresholds(self) -> None:
        """Requires the default of each setting of thresholds that is not used."""
        adaptive = self.fixmatch_adaptive_thresholds
        unused = ("fixmatch_threshold",) if adaptive else ("fixmatch_threshold_decay", "fixmatch_fairness_weight")
        for name in unused:
            default, value = getattr(FamilySettings, name), getattr(self, name)
            allowed = f"{default} with --fixmatch_adaptive_thresholds={str(adaptive).lower()}"
            require(value == default, name, allowed, value)

    @staticmethod
    def own_names(method: str) -> list[str]:
        """Returns the names of the settings that belong to a method."""
        return [field.name for field in dataclasses.fields(FamilySettings) if field.name.startswith(f"{method}_")]

    def require_own(self, method: str) -> None:
        """Requires the defaults of all settings that belong to other methods."""
        own = self.own_names(method)
        for field in dataclasses.fields(FamilySettings):
            value = getattr(self, field.name)
            fits = field.name in own or value == field.default
            require(fits, field.name, f"{field.default} with --method={method}, which does not use the setting", value)
