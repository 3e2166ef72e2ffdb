from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import shape

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.errors import InputError
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
    assert len(both) == len(found["features"]) + len(opened.prompted)
    classes = [each["properties"]["classification"]["name"] for each in both]
    assert classes.count(PROMPTED_CLASS) == len(opened.prompted)
    assert len({each["id"] for each in both}) == len(both)
    assert all(shape(each["geometry"]).is_valid for each in both)
    assert "1 points" in opened.summary()

    opened.clear_points()
    assert opened.to_geojson() == found
    np.testing.assert_array_equal(opened.drawing(), drawn)


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
