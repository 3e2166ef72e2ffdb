"""What is logged of the labels: how much is ignored, recovered, or missing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsam_d2.structures.labels import IGNORE

__all__ = ["label_statistics", "mean_statistics"]


def label_statistics(
    prompt_labels: Tensor, instance_labels: Tensor, recovered: Tensor, kept: Tensor, count: int
) -> dict[str, float]:
    """Shares in [0, 1] of the labels of a crop or an image.

    Args:
        prompt_labels: (H, W) S_P.
        instance_labels: (H, W) S_I.
        recovered: (H, W) bool, ignored in S_P but not in S_I.
        kept: (H, W) bool, the pixels that are counted.
        count: K, number of points.

    Returns:
        ``prompt_ignored``, ``instance_ignored``, ``recovered``: shares of the pixels;
        ``empty_prompts``: share of the points without a pixel in S_P.
    """
    ids = torch.arange(1, count + 1, device=prompt_labels.device)
    missing = ~torch.isin(ids, prompt_labels)
    return {
        "prompt_ignored": _share((prompt_labels == IGNORE)[kept]),
        "instance_ignored": _share((instance_labels == IGNORE)[kept]),
        "recovered": _share(recovered[kept]),
        "empty_prompts": _share(missing),
    }


def _share(mask: Tensor) -> float:
    return float(mask.float().mean()) if mask.numel() else 0.0


def mean_statistics(statistics: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each over at least one crop or image."""
    return {
        name: sum(each[name] for each in statistics) / len(statistics) for name in statistics[0]
    }
