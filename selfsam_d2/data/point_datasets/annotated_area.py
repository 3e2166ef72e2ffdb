"""The part of an image that was annotated: only there does the absence of a point say anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry
from skimage.draw import polygon as polygon_pixels

__all__ = [
    "EDGE",
    "area_around_points",
    "area_mask",
    "area_of_regions",
    "polygons_of",
    "spacing_of",
]

# In multiples of s, the median distance of a point to its nearest neighbour. Gaps among points are
# closed up to 4 s wide, as whoever set the points around one has looked into it; to the outside the
# area ends before the next nucleus, 1 s away, which may have been left out.
REACH = 2.0
EDGE = 0.75
# s of a point that is alone, and its upper limit: points this far apart may have nuclei between.
ALONE = 32.0
MAX_SPACING = 64.0


def area_of_regions(
    regions: Sequence[BaseGeometry], size: tuple[int, int], margin: float | None = None
) -> BaseGeometry:
    """The union of drawn regions, inside the image.

    Args:
        regions: valid outlines, px.
        size: (height, width), px.
        margin: how far the area reaches beyond them, px; None: not at all.

    Returns:
        polygons, or empty.
    """
    drawn = shapely.union_all(polygons_of(shapely.geometrycollections(list(regions))))
    return _inside(drawn.buffer(margin) if margin else drawn, size)


def spacing_of(points: npt.NDArray[np.float64]) -> float:
    """s: the median distance of a point to its nearest neighbour, at most 64 px.

    Args:
        points: (N, 2) xy, px.

    Returns:
        px; 32 where there are no two points.
    """
    if len(points) < 2:
        return ALONE
    distances, _ = cKDTree(points).query(points, k=2)
    return min(float(np.median(distances[:, 1])), MAX_SPACING)


def area_around_points(
    points: npt.NDArray[np.float64], size: tuple[int, int], margin: float | None = None
) -> BaseGeometry:
    """The neighbourhood of points: discs around them, less a rim, inside the image.

    The discs have the radius 2 s (s: the median distance of a point to its nearest neighbour), and
    the rim is so wide that the area ends ``margin`` beyond the outer points.

    Args:
        points: (N, 2) xy, px, N >= 1.
        size: (height, width), px.
        margin: px; None: 0.75 s.

    Returns:
        polygons; every point of the image is inside.
    """
    spacing = spacing_of(points)
    edge = EDGE * spacing if margin is None else margin
    reach = max(REACH * spacing, edge)
    discs = shapely.union_all(shapely.buffer(shapely.points(points), reach, quad_segs=4))
    # Discs are polygons, a little smaller than circles: a point itself never falls out.
    kept = shapely.buffer(shapely.points(points), max(edge, 1.0), quad_segs=4)
    return _inside(shapely.union_all([discs.buffer(edge - reach, quad_segs=4), *kept]), size)


def area_mask(
    area: BaseGeometry, corner: tuple[int, int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Rasterise an area: a pixel is inside if its centre is.

    Args:
        area: polygons that do not overlap, px.
        corner: xy of the mask's upper left corner.
        size: (height, width) of the mask, px.

    Returns:
        size.
    """
    mask = np.zeros(size, dtype=np.bool_)
    for part in polygons_of(area):
        for ring in (part.exterior, *part.interiors):
            # scikit-image puts pixel centres at whole numbers; a hole undoes its exterior.
            columns, rows = (np.asarray(ring.coords)[:, :2] - corner - 0.5).T
            mask[polygon_pixels(rows, columns, size)] ^= True
    return mask


def polygons_of(geometry: BaseGeometry) -> list[shapely.Polygon]:
    """The polygons of any geometry; lines and points are left out."""
    if geometry.geom_type == "Polygon":
        return [geometry] if geometry.area > 0 else []
    # A mended outline is a collection that can hold collections, these multipolygons.
    parts = getattr(geometry, "geoms", ())
    return [polygon for part in parts for polygon in polygons_of(part)]


def _inside(area: BaseGeometry, size: tuple[int, int]) -> BaseGeometry:
    height, width = size
    return shapely.union_all(polygons_of(area.intersection(shapely.box(0, 0, width, height))))
