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
    supervised_label_smoothing: float = setting(
        "family",
        0.0,
        "Label smoothing of supervised training: share of each label that is spread evenly over the classes, in [0, 1); 0: none.",
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
        self.require_each(
            (
                *("byol_predictor_ridge", "byol_semantic_weight", "simclr_semantic_weight"),
                *("barlow_twins_redundancy_weight", "swav_frozen_steps", "fixmatch_consistency_weight"),
                *("fixmatch_fairness_weight", "simmatch_consistency_weight", "simmatch_instance_weight"),
                *("simmatch_delay_steps", "paws_me_max_weight"),
            ),
            lambda value: value >= 0,
            "0 or more",
        )
        below_1 = (
            *("byol_predictor_decay", "simclr_class_prior", "fixmatch_threshold_decay"),
            *("paws_label_smoothing", "supervised_label_smoothing"),
        )
        self.require_each(below_1, lambda value: 0 <= value < 1, "in [0, 1)")
        shares = ("fixmatch_threshold", "simmatch_threshold", "simmatch_smoothing")
        self.require_each(shares, lambda share: 0 <= share <= 1, "in 0..1")
        self.require_each(("swav_epsilon", "paws_sharpening"), lambda value: value > 0, "positive")
        self.require_each(("simmatch_alignment_batches",), lambda count: count >= 1, "1 or more")
        self.require_each(("swav_prototypes",), lambda count: count >= 2, "2 or more")
        if self.byol_predictor == "mlp":
            self.require_defaults(("byol_predictor_ridge", "byol_predictor_decay"), "with --byol_predictor=mlp")
        adaptive = self.fixmatch_adaptive_thresholds
        unused = ("fixmatch_threshold",) if adaptive else ("fixmatch_threshold_decay", "fixmatch_fairness_weight")
        self.require_defaults(unused, f"with --fixmatch_adaptive_thresholds={str(adaptive).lower()}")

    @staticmethod
    def own_names(method: str) -> list[str]:
        """Returns the names of the settings that belong to a method."""
        return [field.name for field in dataclasses.fields(FamilySettings) if field.name.startswith(f"{method}_")]

    def require_own(self, method: str) -> None:
        """Requires the defaults of all settings that belong to other methods."""
        own = self.own_names(method)
        others = [field.name for field in dataclasses.fields(FamilySettings) if field.name not in own]
        self.require_defaults(others, f"with --method={method}, which does not use the setting")
