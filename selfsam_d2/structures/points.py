"""Points: shift noise of an annotation, spacing of neighbours, Voronoi cells, prompts.

All coordinates are continuous pixel coordinates: pixel (row i, column j) covers
[j, j + 1) x [i, i + 1), its centre is (j + 0.5, i + 0.5). SAM's own frame is converted to in one
place, ``selfsam_d2.modeling.prompter``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

__all__ = [
    "SHIFT_LAWS",
    "generator_seed",
    "nearest_distances",
    "nearest_others",
    "shift_points",
    "spacing_boxes",
    "voronoi_cells",
]

SHIFT_LAWS = ("radius", "disk", "square", "inside")
MAX_REDRAWS = 1000


def generator_seed(*parts: int | str) -> list[int]:
    """Entropy for ``numpy.random.default_rng`` from integers and names, the same in every process.

    Args:
        parts: integers >= 0 are taken as they are, everything else by the CRC-32 of its text.
    """
    return [
        part if isinstance(part, int) and part >= 0 else zlib.crc32(str(part).encode())
        for part in parts
    ]


def shift_points(
    points: np.ndarray,
    *,
    distance: float,
    seed: int,
    image_id: int | str,
    annotation_ids: Sequence[int | str],
    size: tuple[int, int],
    law: str = "radius",
    contains: Callable[[int, float, float], bool] | None = None,
) -> np.ndarray:
    r"""Shift noise of a point annotation.

    .. math:: p'_k = p_k + \rho_k (\cos\theta_k, \sin\theta_k), \quad
        \theta_k \sim U[0, 2\pi), \quad \rho_k \sim U[0, s]

    The noise belongs to the annotation: it depends on (seed, image, annotation) only.

    Args:
        points: (N, 2) xy, px.
        distance: s, px, >= 0.
        seed: of the noise.
        image_id: of the image.
        annotation_ids: N ids.
        size: (height, width) of the image; results are clipped to it.
        law: ``radius`` as above; ``disk``: uniform in the disk, :math:`\rho = s\sqrt{u}`;
            ``square``: uniform in [-s, s]^2; ``inside``: as ``radius``, drawn again until
            ``contains`` is true (a point with no such position near it stays where it is).
        contains: for ``inside``: (index, x, y) -> whether the nucleus covers that position.

    Returns:
        (N, 2) float64 xy, px, 0 <= x < width, 0 <= y < height.

    Raises:
        ValueError: unknown law, negative distance, or ``inside`` without ``contains``.
    """
    if law not in SHIFT_LAWS:
        raise ValueError(f"Expected argument `law` to be one of {SHIFT_LAWS}, but got {law!r}.")
    if distance < 0:
        raise ValueError(f"Expected argument `distance` to be >= 0, but got {distance}.")
    if law == "inside" and contains is None:
        raise ValueError("Expected argument `contains` for the law 'inside', but got None.")
    shifted = np.array(points, dtype=np.float64).reshape(-1, 2)
    if distance == 0:
        return shifted
    height, width = size
    limit = np.nextafter((width, height), 0)
    for index, annotation_id in enumerate(annotation_ids):
        rng = np.random.default_rng(generator_seed(seed, image_id, annotation_id))
        origin = shifted[index].copy()
        for _ in range(MAX_REDRAWS):
            moved = np.clip(origin + _draw_offset(rng, distance, law), 0, limit)
            if contains is None or law != "inside" or contains(index, *moved):
                shifted[index] = moved
                break
    return shifted


def _draw_offset(rng: np.random.Generator, distance: float, law: str) -> np.ndarray:
    if law == "square":
        return rng.uniform(-distance, distance, size=2)
    radius, angle = rng.uniform(0, 1), rng.uniform(0, 2 * np.pi)
    if law == "disk":
        radius = np.sqrt(radius)
    return distance * radius * np.array([np.cos(angle), np.sin(angle)])


def nearest_others(points: Tensor, context: Tensor, count: int) -> Tensor:
    """The nearest other points of each point; points at one position count once.

    Args:
        points: (K, 2) xy, each of them also in ``context``.
        context: (N, 2) xy, of which M positions are distinct.
        count: how many.

    Returns:
        (K, min(count, M - 1)) long, indices into ``context``, nearest first.
    """
    positions, first = np.unique(context.double().cpu().numpy(), axis=0, return_index=True)
    count = min(count, len(positions) - 1)
    if count <= 0 or not len(points):
        return torch.zeros((len(points), max(count, 0)), dtype=torch.long)
    _, order = cKDTree(positions).query(points.double().cpu().numpy(), k=count + 1)
    return torch.from_numpy(first[np.asarray(order)[:, 1:]].astype(np.int64))


def nearest_distances(context: Tensor) -> Tensor:
    """n: distance of each point to the nearest other one; points at one position count once.

    Args:
        context: (N, 2) xy, px.

    Returns:
        (N,) float32, px, above 0; infinite for a point that is alone.
    """
    positions, own = np.unique(context.double().cpu().numpy(), axis=0, return_inverse=True)
    if len(positions) < 2:
        return torch.full((len(context),), float("inf"))
    distances, _ = cKDTree(positions).query(positions, k=2)
    return torch.from_numpy(distances[own.reshape(-1), 1].astype(np.float32))


def spacing_boxes(
    points: Tensor, context: Tensor, *, scale: float = 0.55, default_radius: float = 12.0
) -> Tensor:
    r"""Boxes made of points only, centred on each point.

    .. math:: r_k = c \cdot \min(n_k, \mathrm{median}_i\, n_i)

    with :math:`n_k` the distance to the nearest other point, in or out of the crop, and the lower
    of the two middle values as the median of an even number. Not in the paper.

    Args:
        points: (K, 2) xy, px, each of them also in ``context``.
        context: (N, 2) xy, all points of the transformed image.
        scale: c.
        default_radius: half side, px, for a point that is alone.

    Returns:
        (K, 4) x0, y0, x1, y1, px.
    """
    spacing = nearest_distances(context)
    if not bool(spacing.isfinite().all()) or not len(spacing):
        radius = torch.full((len(points),), default_radius)
    else:
        tree = cKDTree(context.double().cpu().numpy())
        _, own = tree.query(points.double().cpu().numpy().reshape(-1, 2))
        own = torch.as_tensor(np.asarray(own), dtype=torch.long)
        radius = scale * torch.minimum(spacing[own], spacing.median())
    radius = radius.to(points)[:, None]
    return torch.cat([points - radius, points + radius], dim=1)


def voronoi_cells(points: Tensor, context: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest point of each pixel centre, among all points of the transformed image.

    Args:
        points: (K, 2) xy, px, the points inside the map.
        context: (N, 2) xy, px, all points; those that are not in ``points`` claim pixels too.
        size: (height, width) of the map.

    Returns:
        (H, W) long, index into ``points`` (ties to the lower index), -1 where a point outside the
        map is nearer.
    """
    height, width = size
    device = points.device
    rows = torch.arange(height, device=device, dtype=torch.float64) + 0.5
    columns = torch.arange(width, device=device, dtype=torch.float64) + 0.5
    if not len(points):
        return torch.full(size, -1, dtype=torch.long, device=device)
    squared = _squared_distances(points, rows, columns)
    nearest = squared.amin(dim=0)
    owner = (squared == nearest).int().argmax(dim=0)
    outer = _outer_points(points, context, size, reach=nearest.max().sqrt())
    if len(outer):
        beaten = _squared_distances(outer, rows, columns).amin(dim=0) < nearest
        owner = owner.masked_fill(beaten, -1)
    return owner


def _squared_distances(points: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    across = (columns[None, :] - points[:, :1].double()) ** 2
    down = (rows[None, :] - points[:, 1:].double()) ** 2
    return down[:, :, None] + across[:, None, :]


def _outer_points(points: Tensor, context: Tensor, size: tuple[int, int], reach: Tensor) -> Tensor:
    # Only points within reach of the map can be nearer to one of its pixels.
    height, width = size
    lower = torch.zeros(2, dtype=context.dtype, device=context.device)
    upper = torch.tensor([width, height], dtype=context.dtype, device=context.device)
    beyond = (context - context.clamp(min=lower, max=upper)).norm(dim=1)
    inside = (context[:, None, :] == points[None, :, :]).all(dim=2).any(dim=1)
    return context[(beyond <= reach) & ~inside]
