"""The variants of a preset that are compared with it: each differs from it in one setting."""

from collections.abc import Mapping
from typing import Any

PRESET = "preset"
"""Variant that changes nothing, with which the others are compared."""

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "preset": ("the preset", {}),
    "lambda_0": ("λ = 0", {"invariance_weight": 0.0}),
    "lambda_1": ("λ = 1", {"invariance_weight": 1.0}),
    "lambda_5": ("λ = 5", {"invariance_weight": 5.0}),
    "invariance_of_both": ("gradient into both distributions of the invariance", {"invariance_stop_gradient": False}),
    "lambda_1_of_both": (
        "λ = 1, gradient into both distributions of the invariance",
        {"invariance_weight": 1.0, "invariance_stop_gradient": False},
    ),
    "alpha_0.2": ("α = 0.2", {"semantic_weight": 0.2}),
    "alpha_3": ("α = 3", {"semantic_weight": 3.0}),
    "no_semantic_positives": ("α = 0, R = 0", {"semantic_weight": 0.0, "semantic_positives": 0}),
    "negatives_10": ("M = 10", {"negatives": 10}),
    "negatives_100": ("M = 100", {"negatives": 100}),
    "any_negatives": ("negatives of any class", {"same_class_negatives": True}),
    "other_negatives": ("negatives of other classes", {"same_class_negatives": False}),
    "positives_1": ("R = 1", {"semantic_positives": 1}),
    "positives_10": ("R = 10", {"semantic_positives": 10}),
    "neighbours_3": ("K = 3", {"neighbours": 3}),
    "neighbours_10": ("K = 10", {"neighbours": 10}),
    "neighbours_4": ("K = 4: 16 votes", {"neighbours": 4}),
    "one_voting_view": ("K = 4, of one view: 4 votes", {"voting_views": 1, "neighbours": 4}),
    "vote_share_0": ("any vote share", {"min_vote_share": 0.0}),
    "vote_share_0.75": ("vote share of 0.75", {"min_vote_share": 0.75}),
    "vote_share_1": ("unanimous votes", {"min_vote_share": 1.0}),
    "queue_512": ("queue of 512", {"queue_size": 512}),
    "queue_8192": ("queue of 8,192", {"queue_size": 8192}),
    "labelled_16": ("16 labelled images in a batch", {"labelled_batch_size": 16}),
    "labelled_64": ("64 labelled images in a batch", {"labelled_batch_size": 64}),
    "batch_128": ("batches of 128", {"batch_size": 128}),
    "recipe_cifar": ("views of the recipe cifar", {"recipe": "cifar"}),
    "recipe_gentle": ("views of the recipe gentle", {"recipe": "gentle"}),
    "temperature_0.1": ("τ = 0.1", {"temperature": 0.1}),
    "temperature_0.5": ("τ = 0.5", {"temperature": 0.5}),
    "float32": ("float32", {"precision": "float32"}),
    "wide_resnet9": ("resnet9, widths 64, 128, 128", {"encoder": "resnet9", "widths": (64, 128, 128)}),
    "narrow_resnet9": ("resnet9, widths 32, 64, 64", {"encoder": "resnet9", "widths": (32, 64, 64)}),
    "convnet_stride2": ("convnet_stride2", {"encoder": "convnet_stride2", "widths": ()}),
    "narrow_resnet18": ("resnet18_cifar, width 0.25", {"encoder": "resnet18_cifar", "widths": (), "width": 0.25}),
    "fixed_gain": ("batch norms without gain", {"encoder": "resnet9_fixed_gain"}),
    "norm_before_pool": ("normalisation before pooling", {"encoder": "resnet9_norm_before_pool"}),
}
"""Title of each variant, and its settings that differ from the preset's, by name."""

TITLES = {name: title for name, (title, _) in VARIANTS.items()} | {
    "progressive_resizing": "smaller views at first",
    "growing_batch": "smaller batches at first",
}
"""Title of each row, by name: the variants, and those that `semppl.benchmarks.small_budget.growing` trains."""
