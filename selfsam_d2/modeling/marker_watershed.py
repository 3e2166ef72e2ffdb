"""Watershed from markers, object by object.

Shape legend:
    H, W: height and width of the image, px
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

__all__ = ["marker_watershed"]

PARTS = 2  # flooded side by side; each is cut out of the image, so more cost little


def marker_watershed(
    heights: NDArray[np.floating[Any]], markers: NDArray[np.int32], objects: NDArray[np.int32]
) -> NDArray[np.int32]:
    """``skimage.segmentation.watershed(heights, markers, mask=objects > 0)``, for less.

    Water never leaves a connected object, so an object with one marker is that marker's as a whole
    and is not flooded, and the others are flooded side by side, from the rims of their markers.

    Pixels of equal height are flooded in an order that scikit-image leaves open; elsewhere the
    result is the same.

    Args:
        heights: (H, W), flooded from low to high.
        markers: (H, W), 0 or the number of a marker, which lies inside one object.
        objects: (H, W), 0 or the number of the 4-connected object, 1 ... n.

    Returns:
        (H, W): the marker whose water reaches a pixel, 0 outside of objects and where there is
        none.
    """
    whole, counts = _markers_of_objects(markers, objects)
    result = whole[objects]
    several = np.flatnonzero(counts > 1)
    if len(several) == 0:
        return result
    # OpenCV numbers objects row by row, so each part is a band of the image.
    parts = np.array_split(several, min(PARTS, len(several)))
    with ThreadPoolExecutor(len(parts)) as pool:  # the flooding holds no lock of the interpreter
        for rows, flooded in pool.map(
            lambda part: _flood(heights, markers, objects, part, len(counts)), parts
        ):
            result[rows] = np.where(flooded > 0, flooded, result[rows])
    return result


def _markers_of_objects(
    markers: NDArray[np.int32], objects: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """For each object: its marker, if it has exactly one (else 0), and how many it has."""
    marked = np.flatnonzero(markers)
    owners = np.zeros(int(markers.max()) + 1, dtype=np.int32)
    owners[markers.ravel()[marked]] = objects.ravel()[marked]
    owners[0] = 0
    counts = np.bincount(owners[owners > 0], minlength=int(objects.max()) + 1)
    alone = np.flatnonzero(counts[owners] == 1)
    whole = np.zeros(len(counts), dtype=np.int32)
    whole[owners[alone]] = alone
    return whole, counts


def _flood(
    heights: NDArray[np.floating[Any]],
    markers: NDArray[np.int32],
    objects: NDArray[np.int32],
    chosen: NDArray[np.intp],
    count: int,
) -> tuple[slice, NDArray[np.int32]]:
    """Flood the chosen objects: the band of rows that holds them, and the markers in it."""
    wanted = np.zeros(count, dtype=bool)
    wanted[chosen] = True
    mask = wanted[objects]
    filled = np.flatnonzero(mask.any(axis=1))
    rows = slice(int(filled[0]), int(filled[-1]) + 1)
    band = mask[rows]
    sources = np.where(band, markers[rows], 0)
    inner = _surrounded(sources)
    flooded = watershed(heights[rows], np.where(inner, 0, sources), mask=band & ~inner)
    return rows, np.where(inner, sources, flooded).astype(np.int32)


def _surrounded(markers: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of a marker whose four neighbours are of it too: water from them goes nowhere."""
    inner = np.zeros(markers.shape, dtype=bool)
    middle = markers[1:-1, 1:-1]
    inner[1:-1, 1:-1] = (
        (middle > 0)
        & (middle == markers[:-2, 1:-1])
        & (middle == markers[2:, 1:-1])
        & (middle == markers[1:-1, :-2])
        & (middle == markers[1:-1, 2:])
    )
    return inner
