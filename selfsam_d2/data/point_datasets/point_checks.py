"""The checks of the points of one image, and what they leave.

Legend: N: number of points.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from selfsam_d2.data.images import image_size
from selfsam_d2.data.point_datasets.annotated_area import area_around_points, area_of_regions
from selfsam_d2.data.point_datasets.coverage import covered_share, is_one_part
from selfsam_d2.data.point_datasets.pairs import ImagePairs, StrayPoints
from selfsam_d2.data.point_files.point_set import PointSet
from selfsam_d2.errors import InputError, shortened

__all__ = [
    "DOUBLE_DISTANCE",
    "NOT_MEASURED",
    "CheckedImage",
    "CheckedPoints",
    "check_images_and_points",
    "double_points",
]

DOUBLE_DISTANCE = 2.0
# Size of an image that no file has points of.
NOT_MEASURED = (0, 0)
# Rounding of overlays of polygons, px.
TOLERANCE = 1e-6


def _none() -> npt.NDArray[np.float64]:
    return np.empty((0, 2))


@dataclass
class CheckedImage:
    """An image with the points that are kept, and those that are not.

    Attributes:
        path: the image.
        size: (height, width), px; :data:`NOT_MEASURED` where no file has points of it.
        points: (N, 2) xy, px, 0 <= x < width and 0 <= y < height.
        classes: N names; "" where none is given.
        area: the annotated area, polygons in px; None: the whole image.
        has_regions: whether the area was drawn, not made from the points.
        left_out: (K, 2) points of other classes than wanted.
        outside: (K, 2) points outside the image.
        doubles: (K, 2) points less than :data:`DOUBLE_DISTANCE` px from an earlier one.
        off_region: (K, 2) points outside of the regions that were drawn.
        unused_outlines: number of outlines that are no regions.
        ignored: number of points of classes that QuPath ignores.
        covered: share of the image that its points lie in, of any class; None: not the whole image
            counts as annotated.
        one_part: whether they lie in one part of an image that counts as annotated as a whole.
        is_slide: whether it is read region by region.
        microns_per_pixel: um; None: unknown.
    """

    path: Path
    size: tuple[int, int]
    points: npt.NDArray[np.float64]
    classes: list[str]
    area: BaseGeometry | None = None
    has_regions: bool = False
    left_out: npt.NDArray[np.float64] = field(default_factory=_none)
    outside: npt.NDArray[np.float64] = field(default_factory=_none)
    doubles: npt.NDArray[np.float64] = field(default_factory=_none)
    off_region: npt.NDArray[np.float64] = field(default_factory=_none)
    unused_outlines: int = 0
    ignored: int = 0
    covered: float | None = None
    one_part: bool = False
    is_slide: bool = False
    microns_per_pixel: float | None = None

    def keep(self, which: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Keep the points for which an entry of (N,) is true; (K, 2) those that were dropped."""
        kept = np.asarray(which, dtype=np.bool_)
        dropped = self.points[~kept]
        self.points = self.points[kept]
        self.classes = [name for name, keep in zip(self.classes, kept, strict=True) if keep]
        return dropped


@dataclass
class CheckedPoints:
    """All images, and what has none.

    Attributes:
        image_root: folder of the images.
        images: all of them, without points too.
        without_image: points that no image belongs to.
    """

    image_root: Path
    images: list[CheckedImage]
    without_image: list[StrayPoints] = field(default_factory=list)


def check_images_and_points(
    pairs: ImagePairs,
    *,
    whole_up_to: int,
    classes: Collection[str] = (),
    margin: float | None = None,
) -> CheckedPoints:
    """Drop what cannot be used, and find the annotated area of each image.

    Only headers are read, and of images that no file has points of not even these.

    Args:
        pairs: images and their points.
        whole_up_to: images of at most this side, px, count as annotated as a whole, unless regions
            were drawn.
        classes: points of other classes are left out; none: all are taken.
        margin: how far the annotated area reaches beyond regions, or beyond outer points, px.

    Raises:
        InputError: an image cannot be used, or no point is of one of the classes.
    """
    found = sorted({name for points in pairs.points.values() for name in points.classes})
    for name in classes:
        if name not in found:
            there = ", ".join(each or "(none)" for each in found) or "no point at all"
            raise InputError(
                "--classes", f"no point has the class {name}; there are: {shortened(there)}"
            )
    images = []
    for stem, path in pairs.images.items():
        read, slide = pairs.points[stem], pairs.slides.get(stem)
        image = CheckedImage(path, NOT_MEASURED, read.xy(), list(read.classes))
        image.unused_outlines, image.ignored = read.unused_outlines, read.ignored
        image.is_slide = slide is not None
        image.microns_per_pixel = pairs.microns_per_pixel.get(stem)
        if read.points:
            image.size = image_size(path) if slide is None else slide.size
            _check(image, read, whole_up_to, classes, margin)
        images.append(image)
    return CheckedPoints(pairs.image_root, images, pairs.without_image)


def double_points(points: npt.NDArray[np.float64], distance: float) -> npt.NDArray[np.bool_]:
    """Which points lie too near to an earlier one that is kept.

    Args:
        points: (N, 2) xy, px, in the order in which they were set.
        distance: px; points this far apart are both kept.

    Returns:
        (N,).
    """
    dropped = np.zeros(len(points), dtype=np.bool_)
    if len(points) < 2:
        return dropped
    pairs = cKDTree(points).query_pairs(distance, output_type="ndarray")
    apart = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    near = pairs[apart < distance]  # first index of a pair is the lower one
    for earlier, later in near[np.lexsort((near[:, 0], near[:, 1]))]:
        # All pairs in which `earlier` is the later one have been seen.
        dropped[later] |= not dropped[earlier]
    return dropped


def _check(
    image: CheckedImage,
    found: PointSet,
    whole_up_to: int,
    classes: Collection[str],
    margin: float | None,
) -> None:
    """Drop points of an image that was measured, and find its annotated area."""
    size = image.size
    if classes:
        image.left_out = image.keep([name in classes for name in image.classes])
    image.outside = image.keep(_are_inside(image.points, size))
    image.doubles = image.keep(~double_points(image.points, DOUBLE_DISTANCE))
    if found.regions:
        image.has_regions = True
        image.area = area_of_regions(found.regions, size, margin)
        annotated = shapely.dwithin(shapely.points(image.points), image.area, TOLERANCE)
        image.off_region = image.keep(annotated)
    elif max(size) > whole_up_to and len(image.points):
        image.area = area_around_points(image.points, size, margin)
    elif len(image.points):
        every = found.xy()  # of classes too that are not wanted: there somebody looked as well
        every = every[_are_inside(every, size)]
        every = every[~double_points(every, DOUBLE_DISTANCE)]
        image.covered, image.one_part = covered_share(every, size), is_one_part(every, size)


def _are_inside(points: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    height, width = size
    return np.asarray(((points >= 0) & (points < (width, height))).all(axis=1), dtype=np.bool_)
