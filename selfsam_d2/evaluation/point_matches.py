"""Which annotated points lie in which predicted nuclei: what can be said without a true mask.

Shape legend:
    H, W: height and width of the image, px
    N: number of points
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NOT_COUNTED",
    "NO_POINT",
    "ONE_POINT",
    "SEVERAL_POINTS",
    "PointMatches",
    "match_points",
]

ONE_POINT, SEVERAL_POINTS, NO_POINT = "one point", "several points", "no point"
NOT_COUNTED = "not counted"


@dataclass(frozen=True)
class PointMatches:
    """Points and predicted nuclei of one image.

    Attributes:
        of_point: (N,) id of the nucleus that a point lies in; 0: in none.
        of_nucleus: id -> its kind.
    """

    of_point: NDArray[np.int64]
    of_nucleus: dict[int, str]

    def counts(self) -> dict[str, int]:
        """Numbers of points and nuclei; nuclei that are not counted are in none of them."""
        kinds = Counter(self.of_nucleus.values())
        return {
            "points": len(self.of_point),
            "nuclei found": len(self.of_nucleus) - kinds[NOT_COUNTED],
            "points without a nucleus": int((self.of_point == 0).sum()),
            "nuclei without a point": kinds[NO_POINT],
            "nuclei with several points": kinds[SEVERAL_POINTS],
        }

    def difference(self) -> float:
        """Points without a nucleus and nuclei without a point, per point; it may be above 1.

        Raises:
            ValueError: there is no point.
        """
        if not len(self.of_point):
            raise ValueError("Expected at least one point, but there is no point.")
        counts = self.counts()
        alone = counts["points without a nucleus"] + counts["nuclei without a point"]
        return alone / counts["points"]


def match_points(
    points: NDArray[np.floating[Any]],
    instance_map: NDArray[np.integer[Any]],
    unknown: NDArray[np.bool_],
) -> PointMatches:
    """Say of each point in which nucleus it lies, and of each nucleus how many points it holds.

    A point lies in the nucleus that the pixel under it belongs to. A nucleus without a point that
    has a pixel where points were not set is not counted: its point may be missing for that reason.

    Args:
        points: (N, 2) xy, continuous px, inside the image.
        instance_map: (H, W), 0 background, positive = nucleus; ids may have gaps.
        unknown: (H, W), where points were not set, or are cut off.

    Raises:
        ValueError: a point is outside, or the maps are not of one size.
    """
    if instance_map.shape != unknown.shape:
        raise ValueError(
            f"Expected maps of one size, but got {instance_map.shape} and {unknown.shape}."
        )
    columns, rows = np.floor(points).astype(np.int64).reshape(-1, 2).T
    height, width = instance_map.shape
    if ((columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)).any():
        raise ValueError(f"Expected points inside of {width} x {height} px.")
    of_point = instance_map[rows, columns].astype(np.int64)
    held = Counter(of_point.tolist())
    doubtful = set(np.unique(instance_map[unknown]).tolist())
    ids = np.unique(instance_map[instance_map > 0]).tolist()
    return PointMatches(
        of_point=of_point,
        of_nucleus={number: _kind(held[number], number in doubtful) for number in ids},
    )


def _kind(points: int, doubtful: bool) -> str:
    if points:
        return ONE_POINT if points == 1 else SEVERAL_POINTS
    return NOT_COUNTED if doubtful else NO_POINT
