"""LabelMe's JSON: shapes of the type point, and regions among polygons and rectangles.

LabelMe counts pixels from the upper left corner of the image, as this package does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import Polygon

from selfsam_d2.data.point_files.point_set import (
    POLYGON_VERTICES,
    PointSet,
    ReadOptions,
    as_coordinates,
    distinct,
)
from selfsam_d2.errors import InputError, shortened

__all__ = ["is_labelme", "points_of_labelme"]


def is_labelme(content: Any) -> bool:
    """Whether parsed JSON is an object with ``shapes``."""
    return isinstance(content, dict) and "shapes" in content


def points_of_labelme(path: Path, content: Any, options: ReadOptions) -> dict[str | None, PointSet]:
    """Read the shapes; the label is the class.

    Args:
        path: for messages.
        content: parsed JSON for which :func:`is_labelme` holds.
        options: unit (LabelMe writes px) and label of the regions.

    Returns:
        One entry, under None: the image has the name of the file.

    Raises:
        InputError: a shape is of another type than point, polygon and rectangle, or its
            coordinates are no finite numbers.
    """
    found = PointSet()
    factor = options.pixels_per_unit(path)
    if not isinstance(content["shapes"], list):
        raise InputError(path, '"shapes" is not a list; save it again in LabelMe')
    for number, shape in enumerate(content["shapes"], start=1):
        subject = f"shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("points"), list):
            raise InputError(path, f'{subject} has no "points"; save it again in LabelMe')
        corners = [as_coordinates(pair, path, subject, counts=(2,)) for pair in shape["points"]]
        label, kind = str(shape.get("label") or ""), shape.get("shape_type")
        if kind == "point":
            if len(corners) != 1:
                raise InputError(path, f"{subject} is a point with {len(corners)} positions")
            x, y = corners[0]
            found.add((x * factor, y * factor), label)
        else:
            outline = _outline(path, subject, kind, corners)
            options.add_outline(found, outline, label, factor)
    return {None: found}


def _outline(path: Path, subject: str, kind: Any, corners: list[list[float]]) -> Polygon:
    if kind == "polygon" and distinct(corners) >= POLYGON_VERTICES:
        return shapely.Polygon(corners)
    if kind == "rectangle" and len(corners) == 2:
        (x0, y0), (x1, y1) = corners
        return shapely.box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    raise InputError(
        path,
        f"{subject} is a {shortened(kind)} of {len(corners)} corners; points, polygons (three "
        "corners or more) and rectangles (two) are read, remove it",
    )
