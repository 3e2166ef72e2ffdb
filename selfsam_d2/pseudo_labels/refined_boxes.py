"""Boxes around nuclei as a training sees them so far, to prompt SAM with once more."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from selfsam_d2.pseudo_labels.parts import keep_one_part
from selfsam_d2.structures.points import voronoi_cells

__all__ = ["boxes_of_ids", "refined_boxes"]

SMALLEST_AREA = 15  # px: a smaller part says nothing about the size of its nucleus
SMALLEST_PEAK = 0.1  # a nucleus that is given less stays weak


def boxes_of_ids(ids: Tensor, fallback: Tensor) -> Tensor:
    """The box around each nucleus of a label.

    Args:
        ids: (H, W) int64; 0 background, 1 ... K nuclei.
        fallback: (K, 4) x0, y0, x1, y1, px: for nuclei of fewer than 15 px, or none.

    Returns:
        (K, 4) x0, y0, x1, y1, px: the outer edges of the outermost pixels.
    """
    boxes = fallback.clone()
    areas = torch.bincount(ids.flatten(), minlength=len(fallback) + 1).tolist()
    regions = ndimage.find_objects(ids.cpu().numpy(), max_label=len(fallback))
    for index, (region, area) in enumerate(zip(regions, areas[1:], strict=True)):
        if area >= SMALLEST_AREA:
            rows, columns = region
            edges = (columns.start, rows.start, columns.stop, rows.stop)
            boxes[index] = torch.tensor(edges).to(boxes)
    return boxes


def refined_boxes(
    points: Tensor,
    context: Tensor,
    adapted: Tensor,
    foreground: Tensor,
    fallback: Tensor,
    threshold: float = 0.5,
) -> Tensor:
    r"""The box of each nucleus that adapted masks and nuclei decoder see together.

    .. math::
        v_k = \tfrac12 (m_{adapt,k} + B)\, 1_{cell_k}, \qquad
        \hat{v}_k = v_k / \max(0.1, \max_i v_k(i))

    A pixel with :math:`\hat{v}_k` above the threshold belongs to nucleus k, whose box is that of
    its largest connected part. The division lets a nucleus be seen that B does not see. How
    tight the box is decides what SAM's mask is worth, and points alone only tell the distance to
    the neighbours. Not in the paper.

    Args:
        points: (K, 2) xy, px, inside the map.
        context: (N, 2) xy, px, all points of the transformed image.
        adapted: (K, H, W) m_adapt in [0, 1].
        foreground: (H, W) B in [0, 1].
        fallback: (K, 4) x0, y0, x1, y1, px, for nuclei that are hardly seen.
        threshold: on :math:`\hat{v}`.

    Returns:
        (K, 4) x0, y0, x1, y1, px, without a gradient.
    """
    if not len(points):
        return fallback.clone()
    size = (foreground.shape[0], foreground.shape[1])
    nearest = voronoi_cells(points, context, size)
    cells = nearest == torch.arange(len(points), device=nearest.device)[:, None, None]
    seen = (adapted.detach() + foreground.detach()) / 2 * cells
    seen /= seen.amax(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_PEAK)
    surest, nucleus = seen.max(dim=0)
    ids = torch.where(surest > threshold, nucleus + 1, 0)
    return boxes_of_ids(keep_one_part(ids), fallback)
