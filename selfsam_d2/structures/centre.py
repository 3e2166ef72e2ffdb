"""The point that stands for a nucleus when points are made from masks.

Coordinates are continuous: pixel (row i, column j) covers [j, j + 1) x [i, i + 1) and its centre is
(j + 0.5, i + 0.5).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from selfsam_d2.errors import InputError

__all__ = ["CENTRE_RULES", "CentreRule", "nucleus_centre", "nucleus_centres"]

CentreRule = Literal["centroid", "box"]
CENTRE_RULES: tuple[str, ...] = get_args(CentreRule)


def nucleus_centre(
    mask: npt.NDArray[np.generic], rule: str = "centroid"
) -> npt.NDArray[np.float64]:
    r"""The centre of one mask.

    ``"centroid"``, for the mask pixels :math:`(i_n, j_n)`, :math:`n = 1 \dots N`:

    .. math::
        c = \frac{1}{N} \sum_n (j_n + \tfrac12,\; i_n + \tfrac12)

    and if the pixel that holds :math:`c` is not in the mask, the centre of the mask pixel nearest
    to :math:`c` (of equally near ones the first in row-major order). So the point is always in its
    nucleus. ``"box"``: the centre of the bounding box (Qu 2019), wherever that falls.

    Args:
        mask: (H, W), nonzero = nucleus, at least one such pixel.
        rule: ``"centroid"`` or ``"box"``.

    Returns:
        (2,) float64, (x, y) with 0 <= x < W and 0 <= y < H.

    Raises:
        ValueError: the mask is not 2-D or has no pixel.
        InputError: ``rule`` is neither of the two.
    """
    _, points = nucleus_centres(np.asarray(mask) != 0, rule)
    if len(points) == 0:
        raise ValueError("Expected argument `mask` to have at least one nonzero pixel.")
    centre: npt.NDArray[np.float64] = points[0]
    return centre


def nucleus_centres(
    instance_map: npt.NDArray[np.generic], rule: str = "centroid"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The centre of every nucleus of an instance map; see :func:`nucleus_centre` for the rules.

    Args:
        instance_map: (H, W) integer, ids >= 1 (gaps allowed, pieces of one id are one nucleus);
            0 and negative values are no nucleus.
        rule: ``"centroid"`` or ``"box"``.

    Returns:
        ids: (N,) int64, rising.
        points: (N, 2) float64, (x, y) of each id.

    Raises:
        ValueError: ``instance_map`` is not 2-D.
        InputError: ``rule`` is neither of the two.
    """
    instance_map = np.asarray(instance_map)
    if rule not in CENTRE_RULES:
        raise InputError(f'centre rule "{rule}"', f"unknown; use one of {', '.join(CENTRE_RULES)}")
    if instance_map.ndim != 2:
        raise ValueError(
            f"Expected argument `instance_map` to have shape (H, W), but got {instance_map.shape}."
        )
    pixels = np.argwhere(instance_map > 0)[:, ::-1]  # type: ignore[operator]
    values = instance_map[pixels[:, 1], pixels[:, 0]].astype(np.int64)
    ids, member_of = np.unique(values, return_inverse=True)
    if rule == "box":
        return ids, _box_centres(pixels, member_of, len(ids))
    return ids, _centroids(pixels, member_of, len(ids))


def _box_centres(
    pixels: npt.NDArray[np.int64], member_of: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.full((count, 2), -1)
    np.minimum.at(low, member_of, pixels)
    np.maximum.at(high, member_of, pixels)
    return (low + high + 1) / 2.0


def _centroids(
    pixels: npt.NDArray[np.int64], member_of: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """Centroids of the pixels (M, 2) xy that ``member_of`` (M,) gives to the nuclei 0..count-1."""
    sizes = np.bincount(member_of, minlength=count)
    sums = np.stack(
        [np.bincount(member_of, weights=pixels[:, axis], minlength=count) for axis in (0, 1)],
        axis=1,
    )
    points: npt.NDArray[np.float64] = sums / np.maximum(sizes, 1)[:, None] + 0.5
    holds_centroid = (pixels == np.floor(points)[member_of]).all(axis=1)
    inside = np.bincount(member_of[holds_centroid], minlength=count) > 0
    outside = np.flatnonzero(~inside)
    if len(outside) == 0:
        return points
    order = np.argsort(member_of, kind="stable")
    ends = np.cumsum(sizes)
    for nucleus in outside:
        own = pixels[order[ends[nucleus] - sizes[nucleus] : ends[nucleus]]]
        # Scaled by N all terms are whole numbers, so that equal distances compare as equal.
        offset = own * float(sizes[nucleus]) - sums[nucleus]
        points[nucleus] = own[np.argmin((offset**2).sum(axis=1))] + 0.5
    return points
