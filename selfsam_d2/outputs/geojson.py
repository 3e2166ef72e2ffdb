"""Nuclei as GeoJSON that QuPath (0.4 and later) opens as detections, without a script.

Written from QuPath's own exports: a ``FeatureCollection`` whose features have a UUID, a geometry
in pixels of the full image with the origin at its upper left corner, and ``properties`` with
``objectType``, ``name``, ``classification`` and ``measurements``. The name is the number of the
nucleus, as in the label map and the tables: QuPath shows it in the column "Name" of its tables.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from selfsam_d2.structures.outlines import instance_outlines

__all__ = ["CLASS_NAME", "nuclei_to_geojson", "nucleus_feature"]

CLASS_NAME = "Nucleus"
COLOR = (255, 230, 0)  # as in the overlays
# Ids of nuclei are UUIDs made from what tells the image from others, the number of the nucleus and
# its outline: the same prediction is the same file, and another one has other ids.
NAMESPACE = uuid.UUID("6f6d0a2c-4a0f-5d56-9d5a-3d1a4c3f2b11")
DIGITS = 6


def nuclei_to_geojson(
    instance_map: NDArray[np.integer[Any]],
    scores: Sequence[float] | NDArray[np.floating[Any]],
    *,
    table: Mapping[str, NDArray[Any]] | None = None,
    name: str = "",
    class_name: str = CLASS_NAME,
    origin: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Any]:
    """Describe the nuclei of a map as a GeoJSON ``FeatureCollection``.

    Args:
        instance_map: (H, W) integers; 0 background, ids above 0 (gaps allowed), -1 ignore.
        scores: (N,) in [0, 1], in ascending order of the ids; a measurement ``score``.
        table: further measurements, columns of N values, see
            :func:`selfsam_d2.outputs.measurements.measure_nuclei`; its ``id`` is no measurement.
        name: what tells the image from others; the UUIDs of the features are made from it, the
            ids and the outlines.
        class_name: class of the nuclei in QuPath.
        origin: xy in px of the map's upper left corner in the full image.

    Returns:
        a dictionary for :func:`json.dump`; polygons are valid, and their area is the number of
        pixels of the nucleus.

    Raises:
        ValueError: ``scores`` or a column of ``table`` has not one value per nucleus.
    """
    outlines = instance_outlines(instance_map)
    columns = {"score": np.asarray(scores, dtype=np.float64), **(table or {})}
    columns.pop("id", None)
    for column, values in columns.items():
        if len(values) != len(outlines):
            raise ValueError(
                f"Expected {len(outlines)} values of `{column}`, one per nucleus, but got "
                f"{len(values)}."
            )
    features = []
    for row, (number, outline) in enumerate(outlines.items()):
        placed = shapely.transform(outline, lambda xy: xy + np.asarray(origin))
        measurements = {column: float(values[row]) for column, values in columns.items()}
        features.append(nucleus_feature(placed, number, measurements, name, class_name))
    return {"type": "FeatureCollection", "features": features}


def nucleus_feature(
    outline: Polygon | MultiPolygon,
    number: int,
    measurements: Mapping[str, float],
    name: str = "",
    class_name: str = CLASS_NAME,
) -> dict[str, Any]:
    """Describe one nucleus.

    Args:
        outline: in px of the full image.
        number: of the nucleus in the image; its name in QuPath.
        measurements: name -> value.
        name: what tells the image from others; the UUID of the feature is made from it, the number
            and the outline.
        class_name: class of the nuclei in QuPath.
    """
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(NAMESPACE, f"{name}/{number}/{outline.wkb_hex}")),
        "geometry": shapely.geometry.mapping(shapely.orient_polygons(outline)),
        "properties": {
            "objectType": "detection",
            "name": str(number),
            "classification": {"name": class_name, "color": list(COLOR)},
            "measurements": {key: round(value, DIGITS) for key, value in measurements.items()},
        },
    }
