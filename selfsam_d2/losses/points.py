"""The point map: where the points of an annotation are, as a target of the nuclei decoder.

Not in the paper. Shapes: H x W: the crop, N: points.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["point_map", "point_map_loss"]

HARD = 2.0  # exponent of the error, alpha of the source
NEAR = 4.0  # exponent of the distance to a point, beta of the source
REACH = 4.0  # standard deviations beyond which a point is not felt


def point_map(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    r"""A Gaussian at every point, 1 in the pixel that holds it.

    .. math:: T(j) = \max_k \exp\Big(-\frac{\lVert j - p_k \rVert^2}{2 \sigma^2}\Big)

    with :math:`p_k` moved to the centre of its pixel.

    Args:
        points: (N, 2) xy, px; those beyond the map reach into it.
        size: (height, width).
        sigma: px, above 0.

    Returns:
        (H, W) float32 in [0, 1]; 0 farther than 4 sigma from all points.
    """
    height, width = size
    centres = points.floor() + 0.5
    limits = torch.tensor([width, height], device=points.device) + REACH * sigma
    near = ((centres > -REACH * sigma) & (centres < limits)).all(dim=1)
    centres = centres[near]
    found = torch.zeros(size, device=points.device)
    if not len(centres):
        return found
    columns = torch.arange(width, device=points.device) + 0.5
    rows = torch.arange(height, device=points.device) + 0.5
    across = torch.exp(-((columns - centres[:, :1]) ** 2) / (2 * sigma**2))
    down = torch.exp(-((rows - centres[:, 1:]) ** 2) / (2 * sigma**2))
    for column, row in zip(across, down, strict=True):
        torch.maximum(found, row[:, None] * column[None, :], out=found)
    return torch.where(found < torch.exp(torch.tensor(-(REACH**2) / 2)), 0.0, found)


def point_map_loss(logits: Tensor, target: Tensor, ignore_mask: Tensor) -> Tensor:
    r"""Focal loss of a map of points (Zhou et al., Objects as Points, 2019).

    .. math::
        L_N = -\frac{1}{\max(1, N)} \sum_j \begin{cases}
            (1 - P_j)^2 \log P_j & T_j = 1 \\
            (1 - T_j)^4 P_j^2 \log(1 - P_j) & \text{otherwise}
        \end{cases}

    with :math:`P = \sigma(\text{logits})` and N the number of pixels with :math:`T = 1`.

    Args:
        logits: (H, W).
        target: (H, W) T in [0, 1], of :func:`point_map`.
        ignore_mask: (H, W) bool, True = left out.

    Returns:
        Scalar float32; a zero that keeps the graph where all is ignored.

    Raises:
        ValueError: shapes differ.
    """
    if not logits.shape == target.shape == ignore_mask.shape:
        raise ValueError(
            f"Expected arguments of one shape, but got {tuple(logits.shape)}, "
            f"{tuple(target.shape)} and {tuple(ignore_mask.shape)}."
        )
    kept = ~ignore_mask
    logits, target = logits.float()[kept], target[kept]
    probability = logits.sigmoid()
    at_point = target >= 1
    hit = (1 - probability) ** HARD * F.logsigmoid(logits)
    missed = (1 - target) ** NEAR * probability**HARD * F.logsigmoid(-logits)
    total = torch.where(at_point, hit, missed).sum()
    return -total / at_point.sum().clamp(min=1)
