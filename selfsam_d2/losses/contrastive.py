"""L_C: nuclei against hard background, around one learnable prototype."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["draw_hard_background", "instance_contrastive_loss", "read_at_points"]


def draw_hard_background(
    foreground: Tensor,
    prompt_labels: Tensor,
    *,
    threshold: float = 0.7,
    count: int = 100,
    seed: list[int],
) -> Tensor:
    """Pixels that the nuclei decoder calls nucleus and the prompt label calls background.

    Taken from S_P, since with S_I the set would be empty by construction.

    Args:
        foreground: (H, W) B in [0, 1].
        prompt_labels: (H, W) S_P, -1 ignored.
        threshold: B above it.
        count: how many are drawn at most.
        seed: of the draw, from (seed, step, image id).

    Returns:
        (J, 2) xy of pixel centres, px, J <= count.
    """
    candidates = ((foreground > threshold) & (prompt_labels == 0)).nonzero()
    if len(candidates) > count:
        chosen = np.random.default_rng(seed).choice(len(candidates), size=count, replace=False)
        candidates = candidates[torch.from_numpy(np.sort(chosen)).to(candidates.device)]
    return candidates.flip(1).to(foreground.dtype) + 0.5


def read_at_points(features: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """Read a feature map bilinearly at positions of the crop.

    Args:
        features: (C, h, w) that covers the crop.
        points: (N, 2) xy, px of the crop.
        size: (height, width) of the crop.

    Returns:
        (N, C).
    """
    if not len(points):
        return features.new_zeros((0, len(features))) + features.sum() * 0
    extent = points.new_tensor([size[1], size[0]])
    grid = (2 * points / extent - 1)[None, :, None, :].to(features.dtype)
    read = F.grid_sample(features[None], grid, padding_mode="border", align_corners=False)
    return read[0, :, :, 0].T


def instance_contrastive_loss(
    anchors: Tensor, negatives: Tensor, prototype: Tensor, *, temperature: float = 0.1
) -> Tensor:
    r"""L_C of one image.

    .. math:: L_C = -\frac{1}{K} \sum_k \log \frac{e^{sim(q_k, z^+)/\tau}}
        {e^{sim(q_k, z^+)/\tau} + \sum_j e^{sim(q_k, q_j)/\tau}}

    with sim the cosine.

    Args:
        anchors: (K, d) q_k.
        negatives: (J, d) q_j of hard background.
        prototype: (d,) z+.
        temperature: tau.

    Returns:
        scalar; a zero that keeps the graph where K = 0 or J = 0.

    Raises:
        ValueError: the feature sizes differ.
    """
    if not anchors.shape[-1] == negatives.shape[-1] == prototype.shape[-1]:
        raise ValueError(
            f"Expected arguments to have one feature size, but got {anchors.shape[-1]}, "
            f"{negatives.shape[-1]} and {prototype.shape[-1]}."
        )
    if not len(anchors) or not len(negatives):
        return (anchors.sum() + negatives.sum() + prototype.sum()) * 0
    anchors, negatives = F.normalize(anchors, dim=-1), F.normalize(negatives, dim=-1)
    positive = anchors @ F.normalize(prototype, dim=-1)
    scores = torch.cat([positive[:, None], anchors @ negatives.T], dim=1) / temperature
    return -scores.log_softmax(dim=1)[:, 0].mean()
