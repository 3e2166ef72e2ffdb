"""What every reader of point files returns, and what they share: units, coordinates, regions.

Points are in the frame of this package: continuous pixel coordinates, pixel (row i, column j)
covers [j, j + 1) x [i, i + 1). A reader of a tool that puts whole numbers on pixel centres adds
half a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from selfsam_d2.data.segmentations import is_coordinate
from selfsam_d2.errors import InputError

__all__ = [
    "HALF_PIXEL",
    "IGNORED_BY_QUPATH",
    "UNITS",
    "PointSet",
    "ReadOptions",
    "as_coordinates",
    "distinct",
]

UNITS = ("px", "um")
HALF_PIXEL = 0.5
# QuPath's own class for this is "Region*"; outlines drawn without a class count as well.
REGION_CLASSES = ("", "region", "region*")
POLYGON_VERTICES = 3
# What QuPath counts and measures as nothing: "Ignore*", "Region*", "Tumor: Ignore*".
IGNORED_BY_QUPATH = "*"


@dataclass
class PointSet:
    """The points of one image as one file gives them, in the order of the file.

    Attributes:
        points: N pairs x, y in px.
        classes: N names; "" where the file gives none.
        regions: valid outlines of annotated regions, px.
        unused_outlines: outlines of nuclei, of tumour, ..., which mark no annotated region.
        ignored: points that are left out, as their class says that they are no nuclei.
    """

    points: list[tuple[float, float]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    regions: list[BaseGeometry] = field(default_factory=list)
    unused_outlines: int = 0
    ignored: int = 0

    def add(self, point: tuple[float, float], class_name: str = "") -> None:
        """Append a point in px."""
        self.points.append(point)
        self.classes.append(class_name)

    def extend(self, other: PointSet) -> None:
        """Append what another file says about the same image."""
        self.points += other.points
        self.classes += other.classes
        self.regions += other.regions
        self.unused_outlines += other.unused_outlines
        self.ignored += other.ignored

    def xy(self) -> npt.NDArray[np.float64]:
        """(N, 2)."""
        return np.array(self.points, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True)
class ReadOptions:
    """How point files are read.

    Attributes:
        unit: ``px`` or ``um``; None: what the file says, px where it says nothing.
        microns_per_pixel: of the images, um.
        slide_microns_per_pixel: what the slide of the points says, um; counts where
            ``microns_per_pixel`` is None.
        region_class: class of the outlines that mark annotated regions; None: outlines without a
            class and QuPath's ``Region*``.

    Raises:
        InputError: the resolution is no positive number.
    """

    unit: str | None = None
    microns_per_pixel: float | None = None
    region_class: str | None = None
    slide_microns_per_pixel: float | None = None

    def __post_init__(self) -> None:
        resolution = self.microns_per_pixel
        if resolution is not None and not (math.isfinite(resolution) and resolution > 0):
            raise InputError("--microns-per-pixel", f"must be above 0, found {resolution}")

    def pixels_per_unit(self, path: Path, unit_of_file: str | None = None) -> float:
        """What coordinates of a file are multiplied with.

        Args:
            path: for messages.
            unit_of_file: what the file itself says.

        Raises:
            InputError: file and options contradict each other, or one of them is missing.
        """
        if None not in (self.unit, unit_of_file) and self.unit != unit_of_file:
            raise InputError(
                path, f"says its points are in {unit_of_file}, but --unit is {self.unit}"
            )
        unit = unit_of_file or self.unit
        if unit is None and self.microns_per_pixel is not None:
            raise InputError(
                path, "names no unit and --microns-per-pixel is given; add --unit um or --unit px"
            )
        if unit != "um":
            return 1.0
        resolution = self.microns_per_pixel or self.slide_microns_per_pixel
        if resolution is None:
            raise InputError(
                path,
                "has points in micrometres; add --microns-per-pixel, the images' resolution (0.25 "
                "of most 40x scans)",
            )
        return 1 / resolution

    def marks_region(self, class_name: str) -> bool:
        """Whether an outline of this class marks an annotated region."""
        if self.region_class is not None:
            return class_name == self.region_class
        return class_name.lower() in REGION_CLASSES

    def add_outline(
        self, found: PointSet, outline: BaseGeometry, class_name: str, factor: float
    ) -> None:
        """Keep an outline in units of the file as a region in px, or count it as unused."""
        if not self.marks_region(class_name):
            found.unused_outlines += 1
            return
        scaled = shapely.transform(outline, lambda xy: xy * factor)
        found.regions.append(shapely.make_valid(scaled))


def as_coordinates(
    value: Any, path: Path, subject: str, *, counts: Collection[int] | None = None
) -> list[float]:
    """Check that a value from JSON is a list of finite numbers.

    Args:
        value: from the file.
        path: for messages.
        subject: names the place in the file, e.g. ``"feature 3"``.
        counts: lengths that are allowed; None: any.

    Raises:
        InputError: no list, another length, or not numbers that can be coordinates.
    """
    if not isinstance(value, list) or (counts is not None and len(value) not in counts):
        raise InputError(path, f"{subject} has no pair of numbers x, y; mend or remove it")
    if not all(map(is_coordinate, value)):
        raise InputError(
            path, f"{subject} has a coordinate that is no number below a million; mend or remove it"
        )
    return [float(each) for each in value]


def distinct(corners: list[list[float]]) -> int:
    """How many different corners a ring has."""
    return len({tuple(corner) for corner in corners})
