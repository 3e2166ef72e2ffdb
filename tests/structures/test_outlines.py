"""Outlines of nuclei against the pixels that they are made from."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from skimage.measure import label

from selfsam_d2.structures.outlines import instance_outlines

MAPS = arrays(
    np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3)
)


def pixels_inside(outline: shapely.Geometry, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose middle lies in an outline, one by one."""
    inside = np.zeros(shape, dtype=bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            inside[y, x] = outline.contains(shapely.Point(x + 0.5, y + 0.5))
    return inside


@given(MAPS)
@settings(deadline=None)
def test_an_outline_holds_the_pixels_of_its_nucleus_and_no_others(map_: NDArray[np.int32]) -> None:
    outlines = instance_outlines(map_)
    assert list(outlines) == [each for each in np.unique(map_) if each > 0]
    for number, outline in outlines.items():
        assert outline.is_valid
        assert outline.area == (map_ == number).sum()
        np.testing.assert_array_equal(pixels_inside(outline, map_.shape), map_ == number)


@given(MAPS)
@settings(deadline=None)
def test_parts_and_holes_are_counted_as_in_the_map(map_: NDArray[np.int32]) -> None:
    for number, outline in instance_outlines(map_).items():
        parts = getattr(outline, "geoms", [outline])
        assert len(parts) == label(map_ == number, connectivity=1).max()


def test_a_rectangle_has_four_corners() -> None:
    map_ = np.zeros((6, 8), dtype=np.int32)
    map_[1:4, 2:7] = 9
    (outline,) = instance_outlines(map_).values()
    assert outline.geom_type == "Polygon"
    assert sorted(set(outline.exterior.coords)) == [(2, 1), (2, 4), (7, 1), (7, 4)]


def test_a_hole_stays_a_hole() -> None:
    map_ = np.ones((5, 5), dtype=np.uint16)
    map_[2, 2] = 0
    (outline,) = instance_outlines(map_).values()
    assert len(outline.interiors) == 1


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2), np.int32), np.zeros((2, 2), np.float32)])
def test_other_arrays_are_refused(bad: NDArray[np.generic]) -> None:
    with pytest.raises(ValueError, match="instance_map"):
        instance_outlines(bad)
