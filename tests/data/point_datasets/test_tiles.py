"""Where tiles lie: every point in one, every annotated pixel in one, none too large."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from selfsam_d2.data.point_datasets.annotated_area import (
    area_around_points,
    area_mask,
    area_of_regions,
    spacing_of,
)
from selfsam_d2.data.point_datasets.tiles import MIN_SIDE, plan_tiles

SIZE = (900, 1200)
box = st.tuples(st.integers(0, 1100), st.integers(0, 850), st.floats(5, 700), st.floats(5, 600))


def check(tiles, area, points, tile, keep_empty):
    """The rules that hold for any plan."""
    times = np.zeros(len(points), dtype=int)
    annotated = np.zeros(SIZE, dtype=int)
    for each in tiles:
        x0, y0, x1, y1 = each.box
        assert 0 <= x0 < x1 <= SIZE[1]
        assert 0 <= y0 < y1 <= SIZE[0]
        assert min(x1 - x0, y1 - y0) >= min(MIN_SIDE, tile)
        assert max(x1 - x0, y1 - y0) <= tile
        times[each.points] += 1
        inside = points[each.points]
        assert ((inside >= (x0, y0)) & (inside < (x1, y1))).all()
        annotated[y0:y1, x0:x1] += area_mask(each.area, (x0, y0), (y1 - y0, x1 - x0))
    assert (times == 1).all()
    whole = area_mask(area, (0, 0), SIZE)
    assert annotated.max(initial=0) <= 1
    assert not (annotated.astype(bool) & ~whole).any()
    # What no tile has lies next to a point (of another tile), or is too small for a tile.
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    lost = whole & (annotated == 0)
    if len(points):
        places = np.stack([x[lost], y[lost]], axis=1)
        far = cKDTree(points).query(places)[0] > 0.75 * spacing_of(points)
        lost[lost] = far
    if keep_empty:
        assert lost.sum() <= (MIN_SIDE / 2) ** 2 * 9


@pytest.mark.parametrize("tile", [224, 300, 1024])
@settings(max_examples=12, deadline=None)
@given(st.lists(box, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_drawn_regions(tile, boxes, seed):
    regions = [shapely.box(x, y, x + w, y + h) for x, y, w, h in boxes]
    area = area_of_regions(regions, SIZE)
    points = np.random.default_rng(seed).uniform(0, (1200, 900), (60, 2))
    # On borders too, where a point could fall between two tiles or out of both.
    corners = np.concatenate([np.reshape(region.bounds, (2, 2)) for region in regions])
    points = np.concatenate([points, corners, np.floor(points[:10])])
    inside = shapely.dwithin(shapely.points(points), area, 1e-6)
    points = points[inside & (points >= 0).all(axis=1) & (points < (1200, 900)).all(axis=1)]
    check(plan_tiles(area, points, SIZE, tile, keep_empty=True), area, points, tile, True)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 80), st.sampled_from([40, 400, 2000]), st.integers(0, 2**32 - 1))
def test_neighbourhoods_of_points(count, spread, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, (1200, 900)) + rng.normal(0, spread, (count, 2))
    points = points[((points >= 0) & (points < (1200, 900))).all(axis=1)]
    if len(points):
        area = area_around_points(points, SIZE)
        tiles = plan_tiles(area, points, SIZE, 300, keep_empty=False)
        check(tiles, area, points, 300, False)
        assert all(len(each.points) for each in tiles)


def test_a_region_is_cut_into_equal_tiles():
    area = area_of_regions([shapely.box(100, 50, 1100, 450)], SIZE)
    tiles = plan_tiles(area, np.zeros((0, 2)), SIZE, 400, keep_empty=True)
    boxes = [(100, 50, 433, 450), (433, 50, 767, 450), (767, 50, 1100, 450)]
    assert [each.box for each in tiles] == boxes
    assert plan_tiles(area, np.zeros((0, 2)), SIZE, 400, keep_empty=False) == []


def test_a_nucleus_on_a_seam_is_no_background_of_the_other_tile():
    area = area_of_regions([shapely.box(0, 0, 600, 300)], SIZE)
    # The seam is x = 300; the spacing is 20, so a nucleus reaches 15 px.
    points = np.array([[295.0, 100.0], [275.0, 100.0], [310.0, 200.0], [330.0, 200.0]])
    left, right = plan_tiles(area, points, SIZE, 300, keep_empty=False)
    assert (left.points.tolist(), right.points.tolist()) == ([0, 1], [2, 3])
    of_left, of_right = (
        area_mask(each.area, (300 * k, 0), (300, 300)) for k, each in enumerate((left, right))
    )
    assert not of_right[95:105, :9].any()
    assert of_right[95:105, 11:].all()
    assert not of_left[198:202, 297:].any()
    assert of_left[90:110, 270:].all()
    assert of_right[190:210].all()
    on_seam = np.array([[300.0, 100.0], [20.0, 250.0]])
    left, right = plan_tiles(area, on_seam, SIZE, 300, keep_empty=False)
    assert (left.points.tolist(), right.points.tolist()) == ([1], [0])
    # Between two points on both sides each tile keeps what is near its own.
    points = np.array([[295.0, 100.0], [305.0, 100.0], [20.0, 250.0], [40.0, 250.0]])
    left, right = plan_tiles(area, points, SIZE, 300, keep_empty=False)
    assert area_mask(left.area, (0, 0), (300, 300))[100, 290:].all()
    assert area_mask(right.area, (300, 0), (300, 300))[100, :10].all()


def test_a_region_that_fits_is_cut_to_its_box():
    area = area_of_regions([shapely.box(300.2, 200.7, 800, 550.1)], SIZE)
    (tile,) = plan_tiles(
        area, np.array([[400.0, 300.0], [800.0, 550.0]]), SIZE, 1024, keep_empty=True
    )
    assert tile.box == (300, 200, 801, 551)


def test_small_parts_share_a_tile_and_far_ones_do_not():
    regions = [shapely.box(x, 100, x + 60, 160) for x in (100, 200, 900)]
    area = area_of_regions(regions, SIZE)
    points = np.array([[130.0, 130.0], [930.0, 130.0], [230.0, 130.0]])
    first, second = plan_tiles(area, points, SIZE, 300, keep_empty=False)
    assert first.points.tolist() == [0, 2]
    assert first.box == (52, 2, 308, 258)
    assert second.points.tolist() == [1]


def test_no_area_makes_no_tile():
    empty = area_of_regions([shapely.box(5000, 0, 6000, 10)], SIZE)
    assert plan_tiles(empty, np.zeros((0, 2)), SIZE, 300, keep_empty=True) == []
