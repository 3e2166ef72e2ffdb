"""Measurements of nuclei against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2hed

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.outputs.measurements import measure_nuclei

COLUMNS = [
    *("id", "area_px", "perimeter_px", "eccentricity", "solidity", "haematoxylin", "x_px", "y_px"),
]
IN_MICRONS = ["area_um2", "perimeter_um", "x_um", "y_um"]


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=15)
def test_area_place_and_stain_are_those_of_the_pixels(seed: int) -> None:
    image, map_ = make_synthetic_image(np.random.default_rng(seed), 64, 6)
    stain = rgb2hed(image)[..., 0]
    table = measure_nuclei(image, map_, origin=(100.0, 7.0))
    assert list(table) == COLUMNS
    assert table["id"].tolist() == [each for each in np.unique(map_) if each > 0]
    for row, number in enumerate(table["id"]):
        pixels = [(x, y) for y in range(64) for x in range(64) if map_[y, x] == number]
        assert table["area_px"][row] == len(pixels)
        assert table["x_px"][row] == pytest.approx(100.5 + sum(x for x, _ in pixels) / len(pixels))
        assert table["y_px"][row] == pytest.approx(7.5 + sum(y for _, y in pixels) / len(pixels))
        mean = sum(stain[y, x] for x, y in pixels) / len(pixels)
        assert table["haematoxylin"][row] == pytest.approx(mean)


def test_shapes_that_are_known() -> None:
    image = np.full((60, 90, 3), 200, dtype=np.uint8)
    rows, columns = np.indices((60, 90))
    map_ = np.zeros((60, 90), dtype=np.int32)
    map_[(rows - 30) ** 2 + (columns - 25) ** 2 <= 15**2] = 4
    map_[20:41, 60:63] = 7  # 21 x 3
    map_[0:2, 0:2] = -1
    table = measure_nuclei(image, map_)
    assert table["id"].tolist() == [4, 7]
    circle, bar = 0, 1
    assert table["eccentricity"][circle] < 0.1
    assert table["eccentricity"][bar] > 0.98
    assert table["solidity"] == pytest.approx(1, abs=0.05)
    assert table["perimeter_px"][circle] == pytest.approx(2 * np.pi * 15, rel=0.05)


def test_microns_scale_lengths_once_and_areas_twice() -> None:
    image, map_ = make_synthetic_image(np.random.default_rng(3), 64, 6)
    table = measure_nuclei(image, map_, microns_per_pixel=0.25)
    assert list(table) == COLUMNS + IN_MICRONS
    np.testing.assert_allclose(table["area_um2"], table["area_px"] / 16)
    np.testing.assert_allclose(table["perimeter_um"], table["perimeter_px"] / 4)
    np.testing.assert_allclose(table["x_um"], table["x_px"] / 4)


def test_a_map_without_nuclei_gives_empty_columns() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    table = measure_nuclei(image, np.zeros((8, 8), dtype=np.int32), microns_per_pixel=0.5)
    assert list(table) == COLUMNS + IN_MICRONS
    assert {len(column) for column in table.values()} == {0}


def test_wrong_arguments_are_refused() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="one size"):
        measure_nuclei(image, np.zeros((8, 9), dtype=np.int32))
    with pytest.raises(ValueError, match="microns_per_pixel"):
        measure_nuclei(image, np.zeros((8, 8), dtype=np.int32), microns_per_pixel=0)
