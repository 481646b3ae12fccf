"""Settings of a run of no steps, whose encoder has its initial weights."""

import types
from collections.abc import Mapping
from typing import Any

UNTRAINED: Mapping[str, Any] = types.MappingProxyType(
    {
        "train": "nothing",
        "method": "semppl",
        "queue_quotas": False,
        "frozen_stages": 0,
        "small_views": 0,
        "batch_size": 16,
        "labelled_batch_size": 0,
        "negatives": 1,
        "neighbours": 1,
        "queue_size": 16,
        "head_width": 8,
        "embedding_width": 8,
        "accumulate_steps": 1,
    }
)
"""Differences from the settings of a run that trains; the unused parts, such as queue and heads, are small."""
