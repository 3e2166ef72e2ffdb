from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import shape

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.errors import InputError
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.annotated_image import PROMPTED_CLASS, AnnotatedImage
from selfsam_d2.visualization.overlay import POINT_COLOR, PREDICTED_COLOR


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a b.png"
    Image.fromarray(make_synthetic_image(np.random.default_rng(0), 96, 12)[0]).save(path)
    return path


def has(drawing, color):
    return (drawing == np.array(color)).all(axis=2).any()


def test_points_add_nuclei_and_go_again(tiny_predictor, path):
    opened = AnnotatedImage(tiny_predictor, path)
    drawn, found = opened.drawing(), opened.to_geojson()
    assert drawn.shape == (96, 96, 3)
    assert has(drawn, PREDICTED_COLOR)
    assert not has(drawn, POINT_COLOR)
    assert found == opened.found.to_geojson()
    assert opened.summary() == f"a b.png: {len(opened.found)} nuclei found"

    opened.add_point(50.5, 50.5)
    assert has(opened.drawing(), POINT_COLOR)
    assert opened.prompted is not None
    both = json.loads(json.dumps(opened.to_geojson()))["features"]
    classes = [each["properties"]["classification"]["name"] for each in both]
    assert classes.count(PROMPTED_CLASS) == len(opened.prompted)
    assert len({each["id"] for each in both}) == len(both)
    assert all(shape(each["geometry"]).is_valid for each in both)
    kept = len(both) - len(opened.prompted)
    assert opened.summary() == (
        f"a b.png: {kept} nuclei found, {len(opened.prompted)} outlined at 1 point"
    )

    opened.clear_points()
    assert opened.to_geojson() == found
    np.testing.assert_array_equal(opened.drawing(), drawn)


def test_a_prompted_nucleus_takes_the_place_of_found_ones(tiny_predictor, path, monkeypatch):
    opened = AnnotatedImage(tiny_predictor, path)
    image = opened.image
    found, prompted = np.zeros((2, 96, 96), dtype=np.int32)
    found[10:20, 10:20] = 1  # holds the first point
    found[10:20, 30:40] = 2  # covered by 60 of 100 px
    found[10:20, 50:60] = 3  # covered by 50 of 100 px
    found[60:70, 60:70] = 4  # holds the second point, which outlines nothing
    prompted[15:18, 15:18] = 1
    prompted[10:20, 34:55] = 3
    of = [
        NucleiPrediction(
            *(image, ids, np.full(len(np.unique(ids)) - 1, 0.5, dtype=np.float32)),
            foreground=(ids > 0).astype(np.float32),
        )
        for ids in (found, prompted)
    ]
    opened.__dict__["found"] = of[0]
    monkeypatch.setattr(opened, "_prompted", of[1])
    points = np.array([[16.5, 16.5], [65.0, 65.0], [45.0, 15.0]])
    monkeypatch.setattr(AnnotatedImage, "points", property(lambda _: points))
    features = opened.to_geojson()["features"]
    boxes = [shape(each["geometry"]).bounds for each in features]
    assert boxes == [(50, 10, 60, 20), (60, 60, 70, 70), (15, 15, 18, 18), (34, 10, 55, 20)]
    assert opened.summary() == "a b.png: 2 nuclei found, 2 outlined at 3 points"
    drawn = opened.drawing()
    assert has(drawn[60:70, 60:70], PREDICTED_COLOR)
    assert not has(drawn[:, :34], PREDICTED_COLOR)


def test_too_large_and_broken_files_are_refused(tiny_predictor, path, tmp_path):
    with pytest.raises(InputError, match=r"^a b.png: 96 x 96 px are more than"):
        AnnotatedImage(tiny_predictor, path, max_pixels=96 * 96 - 1)
    AnnotatedImage(tiny_predictor, path, max_pixels=96 * 96)
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"broken.png: truncated"):
        AnnotatedImage(tiny_predictor, broken)


def test_a_model_without_points_says_so(tiny_predictor, path, monkeypatch):
    cfg = tiny_predictor.cfg.clone()
    cfg.MODEL.META_ARCHITECTURE = "NucleiSegmentor"
    monkeypatch.setattr(tiny_predictor, "cfg", cfg)
    opened = AnnotatedImage(tiny_predictor, path)
    with pytest.raises(InputError, match="NucleiSegmentor"):
        opened.add_point(5, 5)
    assert opened.prompted is None
