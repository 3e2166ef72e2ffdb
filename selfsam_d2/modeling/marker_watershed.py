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

__all__ = ["marker_watershed", "owners_of_markers"]

PARTS = 2  # flooded side by side; each is cut out of the image, so more cost little


def marker_watershed(
    heights: NDArray[np.floating[Any]],
    markers: NDArray[np.int32],
    objects: NDArray[np.int32],
    owners: NDArray[np.int32] | None = None,
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
        owners: of :func:`owners_of_markers`, if known already.

    Returns:
        (H, W): the marker whose water reaches a pixel, 0 outside of objects and where there is
        none.
    """
    if owners is None:
        owners = owners_of_markers(markers, objects)
    counts = np.bincount(owners[owners > 0], minlength=int(objects.max()) + 1)
    alone = np.flatnonzero(counts[owners] == 1)
    whole = np.zeros(len(counts), dtype=np.int32)
    whole[owners[alone]] = alone
    several = np.flatnonzero(counts > 1)
    if len(several) == 0:
        return np.take(whole, objects)
    # OpenCV numbers objects row by row, so each part is a band of the image.
    parts = np.array_split(several, min(PARTS, len(several)))
    numbers = np.zeros(len(counts), dtype=np.uint8)
    for number, part in enumerate(parts, start=1):
        numbers[part] = number
    wanted = np.take(numbers, objects)
    with ThreadPoolExecutor(len(parts)) as pool:  # the flooding holds no lock of the interpreter
        floods = [
            pool.submit(_flood, heights, markers, wanted, number)
            for number in range(1, len(parts) + 1)
        ]
        result = np.take(whole, objects)
        for rows, flooded in (each.result() for each in floods):
            result[rows] += flooded  # 0 outside of its own objects, whose entries are 0 so far
    return result


def owners_of_markers(markers: NDArray[np.int32], objects: NDArray[np.int32]) -> NDArray[np.int32]:
    """The object that each marker lies in.

    Args:
        markers: (H, W), 0 or the number of a marker, 1 ... m.
        objects: (H, W), 0 or the number of an object.

    Returns:
        (m + 1,) the object of each marker, 0 for 0.
    """
    marked = np.flatnonzero(markers)
    owners = np.zeros(int(markers.max()) + 1, dtype=np.int32)
    owners[markers.ravel()[marked]] = objects.ravel()[marked]
    return owners


def _flood(
    heights: NDArray[np.floating[Any]],
    markers: NDArray[np.int32],
    parts: NDArray[np.uint8],
    number: int,
) -> tuple[slice, NDArray[np.int32]]:
    """Flood the objects of one part: the band of rows that holds them, and the markers in it."""
    mask = parts == number
    filled = np.flatnonzero(mask.any(axis=1))
    rows = slice(int(filled[0]), int(filled[-1]) + 1)
    band = mask[rows]
    sources = markers[rows] * band
    inner = _surrounded(sources)
    flooded = watershed(heights[rows], sources * ~inner, mask=band & ~inner)
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
