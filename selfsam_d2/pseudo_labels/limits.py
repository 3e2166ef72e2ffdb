"""Limits of the domain of a mask, from points and stain only; none of them is in the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsam_d2.structures.points import nearest_distances, voronoi_cells

__all__ = ["domain_limits"]


def domain_limits(
    points: Tensor,
    context: Tensor,
    size: tuple[int, int],
    *,
    voronoi: bool = False,
    max_radius: float = 0.0,
    stain_mask: Tensor | None = None,
) -> Tensor | None:
    """Where each m_u,k may be above zero.

    Args:
        points: (K, 2) xy, px.
        context: (N, 2) xy, px, all points of the transformed image.
        size: (height, width).
        voronoi: only pixels nearest to p_k (ties to the lower index).
        max_radius: only pixels within this multiple of the median nearest-neighbour distance of
            ``context``; 0, or a point that is alone: no limit.
        stain_mask: (H, W) bool: only there.

    Returns:
        (K, H, W) bool, or None where nothing is limited.
    """
    if not (voronoi or max_radius or stain_mask is not None):
        return None
    allowed = torch.ones((len(points), *size), dtype=torch.bool, device=points.device)
    if voronoi and len(points):
        owner = voronoi_cells(points, context, size)
        allowed &= owner == torch.arange(len(points), device=points.device)[:, None, None]
    spacing = nearest_distances(context)
    if max_radius and len(spacing) and bool(spacing.isfinite().all()):
        allowed &= _within(points, size, max_radius * float(spacing.median()))
    if stain_mask is not None:
        allowed &= stain_mask
    return allowed


def _within(points: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    height, width = size
    rows = torch.arange(height, device=points.device) + 0.5
    columns = torch.arange(width, device=points.device) + 0.5
    across = (columns - points[:, :1]) ** 2
    down = (rows - points[:, 1:]) ** 2
    return down[:, :, None] + across[:, None, :] <= radius**2
