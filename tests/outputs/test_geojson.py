"""GeoJSON as QuPath writes and reads it."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from shapely.geometry import shape

from selfsam_d2.outputs.geojson import nuclei_to_geojson
from selfsam_d2.outputs.prediction import NucleiPrediction

MAPS = arrays(
    np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(-1, 4)
)


@given(MAPS)
@settings(deadline=None)
def test_every_nucleus_is_a_valid_feature_of_its_area(map_: NDArray[np.int32]) -> None:
    ids = [each for each in np.unique(map_) if each > 0]
    scores = np.linspace(0.7, 0.9, len(ids))
    text = json.dumps(nuclei_to_geojson(map_, scores, name="slide", origin=(10.0, 20.0)))
    found = json.loads(text)
    assert found["type"] == "FeatureCollection"
    assert len(found["features"]) == len(ids)
    for number, score, feature in zip(ids, scores, found["features"], strict=True):
        geometry = shape(feature["geometry"])
        assert geometry.is_valid
        assert geometry.area == (map_ == number).sum()
        rows, columns = np.nonzero(map_ == number)
        expected = (10 + columns.min(), 20 + rows.min(), 11 + columns.max(), 21 + rows.max())
        assert geometry.bounds == expected
        for part in getattr(geometry, "geoms", [geometry]):
            assert part.exterior.is_ccw  # RFC 7946
        assert feature["type"] == "Feature"
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["name"] == str(number)
        assert feature["properties"]["measurements"] == {"score": pytest.approx(score, abs=1e-6)}
        uuid.UUID(feature["id"])
    assert len({feature["id"] for feature in found["features"]}) == len(ids)


def test_ids_depend_on_image_number_and_outline() -> None:
    map_ = np.array([[1, 0, 2]])
    first, again, other, wider = (
        [each["id"] for each in nuclei_to_geojson(given, [1, 1], name=name)["features"]]
        for name, given in (("a", map_), ("a", map_), ("b", map_), ("a", np.array([[1, 1, 2]])))
    )
    assert first == again
    assert not set(first) & set(other)
    assert first[0] != wider[0]
    assert first[1] == wider[1]


def test_ids_of_images_without_a_name_depend_on_their_pixels() -> None:
    def ids(value: int) -> list[str]:
        nuclei = NucleiPrediction(
            image=np.full((1, 3, 3), value, dtype=np.uint8),
            instance_map=np.array([[1, 0, 2]], dtype=np.int32),
            scores=np.ones(2, dtype=np.float32),
            foreground=np.ones((1, 3), dtype=np.float32),
        )
        return [each["id"] for each in nuclei.to_geojson()["features"]]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_columns_become_measurements_and_the_class_is_named() -> None:
    table = {"id": np.array([1, 2]), "area_px": np.array([1.0, 1.0])}
    (feature, _) = nuclei_to_geojson(
        np.array([[1, 0, 2]]), [0.5, 0.75], table=table, class_name="Tumour"
    )["features"]
    assert feature["properties"]["measurements"] == {"score": 0.5, "area_px": 1.0}
    assert feature["properties"]["classification"]["name"] == "Tumour"


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values of `score`"):
        nuclei_to_geojson(np.array([[1, 0, 2]]), [0.5])
