"""From an instance map to polygons that follow the borders of its pixels, and back.

Legend:
    H, W: height and width of the map, px
    N: number of nuclei in it
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from shapely.geometry import MultiPolygon, Polygon

__all__ = ["instance_outlines", "mask_outline"]


def instance_outlines(
    instance_map: NDArray[np.integer[Any]],
) -> dict[int, Polygon | MultiPolygon]:
    """The outline of each nucleus, along the borders of its pixels.

    Pixel (x, y) is the square [x, x + 1] x [y, y + 1], so that the area of an outline is the
    number of pixels of its nucleus. Holes are kept; parts that touch at a corner, or not at all,
    become a ``MultiPolygon``.

    Args:
        instance_map: (H, W) integers; 0 background, ids above 0 (gaps allowed), -1 ignore.

    Returns:
        id -> valid outline in px, in ascending order of the ids; N entries.

    Raises:
        ValueError: the map is not two-dimensional or not of integers.
    """
    if instance_map.ndim != 2 or not np.issubdtype(instance_map.dtype, np.integer):
        raise ValueError(
            "Expected argument `instance_map` to be (H, W) integers, but got "
            f"{instance_map.shape} {instance_map.dtype}."
        )
    ids, compact = np.unique(np.maximum(instance_map, 0), return_inverse=True)
    compact = compact.reshape(instance_map.shape)
    if len(ids) and ids[0] != 0:  # no background anywhere
        ids, compact = np.insert(ids, 0, 0), compact + 1
    outlines = {}
    for number, window in enumerate(find_objects(compact), start=1):
        rows, columns = window
        mask = compact[window] == number
        outlines[int(ids[number])] = mask_outline(mask, columns.start, rows.start)
    return outlines


def mask_outline(mask: NDArray[np.bool_], x: float = 0, y: float = 0) -> Polygon | MultiPolygon:
    """The outline of one nucleus, as in :func:`instance_outlines`.

    Args:
        mask: (h, w) bool, with at least one pixel.
        x: of the mask's upper left corner in the image, px.
        y: the same.
    """
    # The union of the runs of the mask, each a box one pixel high.
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)  # in reading order as well: the same runs
    boxes = shapely.box(starts, rows, ends, rows + 1)
    # Corners in the middle of a straight side are left over by the union.
    outline = shapely.simplify(shapely.union_all(boxes), 0.0)
    return shapely.transform(outline, lambda xy: xy + np.array([x, y]))
