"""A model sees its own resolution, and nuclei come back in px of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selfsam_d2.prediction.options import Tiling
from selfsam_d2.prediction.resolution import predict_at_scale, scale_between, unknown_resolution


def test_scale_is_px_of_the_image_per_px_of_the_model() -> None:
    assert scale_between(0.5, 0.25) == 2
    assert scale_between(0.25, 0.5) == 0.5
    for model, image in ((None, 0.5), (0.5, None), (0.25, 0.2715), (0.25, 0.2285)):
        assert scale_between(model, image) == 1
    assert scale_between(0.25, 0.28) != 1


def test_what_an_unknown_resolution_means_is_said_in_words() -> None:
    line = unknown_resolution(0.5, None) or ""
    assert line == (
        "µm/px not known, so nothing is resized; right if scanned like the training images, else "
        "give --microns-per-pixel, e.g. 0.25"
    )
    assert "training images not known" in (unknown_resolution(None, 0.5) or "")


def test_what_is_unknown_is_named_with_how_to_tell() -> None:
    assert unknown_resolution(0.5, 0.25) is None
    model, image = unknown_resolution(None, 0.5) or "", unknown_resolution(0.5, None) or ""
    assert "INPUT.NUCLEI.MICRONS_PER_PIXEL" in model
    assert "--microns-per-pixel" not in model
    assert "--microns-per-pixel" in image
    assert "INPUT" not in image
    both = unknown_resolution(None, None) or ""
    assert "INPUT.NUCLEI.MICRONS_PER_PIXEL" in both
    assert "--microns-per-pixel" in both
    assert "\n" not in both


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.6, 2.0])
def test_nuclei_come_back_in_place_and_size(scale: float, planted: Any, finder: Any) -> None:
    centres = [(30, 30), (80, 40), (50, 90), (119, 99)]
    image = planted(120, 100, centres, radius=10)
    predict = finder()
    own, found = predict(image), predict_at_scale(predict, image, scale)
    assert predict.seen[1] == (round(100 / scale), round(120 / scale), 3)
    assert found.image is image
    assert found.instance_map.shape == found.foreground.shape == (100, 120)
    assert len(found) == 4
    for number in range(1, 5):
        mask = found.instance_map == number
        other = own.instance_map == own.instance_map[mask].max()
        assert np.count_nonzero(mask & other) / np.count_nonzero(mask | other) > 0.8
        assert found.scores[number - 1] == pytest.approx(own.scores[number - 1], abs=0.1)


def test_what_falls_between_pixels_is_lost_and_ids_have_no_gap(finder: Any) -> None:
    image = np.full((8, 8, 3), 200, dtype=np.uint8)

    def predict(pixels: Any) -> Any:
        pixels = np.full_like(pixels, 200)
        pixels[0, 0] = 10  # a px of the model, of which every fourth is left
        pixels[9:13, 9:13] = 90
        return finder()(pixels)

    found = predict_at_scale(predict, image, 0.25)
    assert np.unique(found.instance_map).tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([1 - 90 / 255])


def test_tiles_are_of_the_size_asked_for_in_the_finer_frame() -> None:
    tiling = Tiling(side=1000, margin=100)
    assert tiling.at(1) == (1000, 100, 25)
    assert tiling.at(2) == (1000, 200, 50)
    assert tiling.at(0.5) == (500, 100, 25)
