"""A strict reader of QuPath's GeoJSON: the schema, then what a schema cannot say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray
from shapely.geometry import shape

SCHEMA = json.loads(Path(__file__).with_name("qupath.schema.json").read_text())
# Of the area of a nucleus in the label map: how far that of its outline may be off.
TOLERANCE = 0.02
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def read_features(path: Path) -> list[dict[str, Any]]:
    """The features of a file that QuPath would read, each outline valid."""

    def refuse(value: str) -> None:
        raise AssertionError(f"{value} is no number of JSON")

    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    VALIDATOR.validate(content)
    features: list[dict[str, Any]] = content["features"]
    assert len({each["id"] for each in features}) == len(features)
    for feature in features:
        for ring in rings(feature["geometry"]):
            assert ring[0] == ring[-1]  # RFC 7946, 3.1.6
        assert shape(feature["geometry"]).is_valid
    return features


def rings(geometry: dict[str, Any]) -> Iterator[list[list[float]]]:
    polygons = geometry["coordinates"]
    for polygon in polygons if geometry["type"] == "MultiPolygon" else [polygons]:
        yield from polygon


def check_against_labels(path: Path, labels: NDArray[Any]) -> list[dict[str, Any]]:
    """The features are the nuclei of a label map: by their number, in place and of their area."""
    features = read_features(path)
    numbers = [int(each["properties"]["name"]) for each in features]
    assert numbers == np.unique(labels[labels > 0]).tolist()
    for number, feature in zip(numbers, features, strict=True):
        rows, columns = np.nonzero(labels == number)
        outline = shape(feature["geometry"])
        assert abs(outline.area - len(rows)) <= TOLERANCE * len(rows)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert outline.bounds == box
    return features
