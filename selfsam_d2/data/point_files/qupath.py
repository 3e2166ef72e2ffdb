"""QuPath's GeoJSON: points and the outlines of annotated regions.

QuPath counts pixels from the upper left corner of the image, as this package does. Points of a
class that ends in ``*`` are no nuclei: that is how QuPath marks what it ignores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import MultiPolygon, Polygon

from selfsam_d2.data.point_files.point_set import (
    IGNORED_BY_QUPATH,
    POLYGON_VERTICES,
    PointSet,
    ReadOptions,
    as_coordinates,
    distinct,
)
from selfsam_d2.errors import InputError, shortened

__all__ = ["is_geojson", "points_of_geojson"]

# A pair, and the height that GeoJSON allows.
PAIR = (2, 3)


def is_geojson(content: Any) -> bool:
    """Whether parsed JSON is a FeatureCollection, a Feature or a bare list."""
    if isinstance(content, list):
        return True
    return isinstance(content, dict) and content.get("type") in ("FeatureCollection", "Feature")


def points_of_geojson(path: Path, content: Any, options: ReadOptions) -> dict[str | None, PointSet]:
    """Read the features of ``Point`` and ``MultiPoint``, and the regions among the polygons.

    Args:
        path: for messages.
        content: parsed JSON for which :func:`is_geojson` holds.
        options: unit (QuPath writes px) and class of the regions.

    Returns:
        One entry, under None: the file names no image.

    Raises:
        InputError: a feature has no geometry, another one than points and polygons, or
            coordinates that are no finite numbers.
    """
    found = PointSet()
    factor = options.pixels_per_unit(path)
    for number, feature in enumerate(_features(path, content), start=1):
        subject = f"feature {number}"
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict):
            raise InputError(path, f"{subject} has no geometry; export it again from QuPath")
        kind, coordinates = geometry.get("type"), geometry.get("coordinates")
        class_name = _class_of(feature)
        if kind in ("Point", "MultiPoint"):
            for each in [coordinates] if kind == "Point" else _list(path, subject, coordinates):
                x, y = as_coordinates(each, path, subject, counts=PAIR)[:2]
                if class_name.endswith(IGNORED_BY_QUPATH):
                    found.ignored += 1
                else:
                    found.add((x * factor, y * factor), class_name)
        elif kind in ("Polygon", "MultiPolygon"):
            parts = [coordinates] if kind == "Polygon" else _list(path, subject, coordinates)
            outline = MultiPolygon([_polygon(path, subject, part) for part in parts])
            # Outlines of detections and cells are nuclei, not regions.
            is_drawn = _properties(feature).get("objectType") not in ("detection", "cell", "tile")
            if is_drawn:
                options.add_outline(found, outline, class_name, factor)
            else:
                found.unused_outlines += 1
        else:
            raise InputError(
                path,
                f"{subject} has the geometry {shortened(kind)}; points and polygons are read, "
                "remove others",
            )
    return {None: found}


def _features(path: Path, content: Any) -> list[Any]:
    if isinstance(content, dict) and content["type"] == "Feature":
        return [content]
    features = content if isinstance(content, list) else content.get("features")
    return _list(path, '"features"', features)


def _list(path: Path, subject: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(path, f"{subject} is not a list; export it again from QuPath")
    return value


def _polygon(path: Path, subject: str, rings: Any) -> Polygon:
    corners = [
        [
            as_coordinates(pair, path, subject, counts=PAIR)[:2]
            for pair in _list(path, subject, ring)
        ]
        for ring in _list(path, subject, rings)
    ]
    if not corners or any(distinct(ring) < POLYGON_VERTICES for ring in corners):
        raise InputError(path, f"{subject} is a polygon of fewer than three corners; remove it")
    return shapely.Polygon(corners[0], corners[1:])


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _class_of(feature: dict[str, Any]) -> str:
    classification = _properties(feature).get("classification")
    if not isinstance(classification, dict):
        return ""
    if isinstance(classification.get("names"), list):  # QuPath 0.6: "Tumor: Positive" in parts
        return ": ".join(map(str, classification["names"]))
    return str(classification.get("name") or "")
