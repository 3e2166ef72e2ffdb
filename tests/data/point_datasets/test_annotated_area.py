"""The annotated area: what is drawn, or the neighbourhood of points; and its mask."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate

from selfsam_d2.data.point_datasets.annotated_area import (
    area_around_points,
    area_mask,
    area_of_regions,
    polygons_of,
)

SIZE = (300, 400)


def grid(spacing, columns, rows, corner=(100, 100)):
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x.ravel(), y.ravel()], axis=1) * float(spacing) + corner


def test_regions_are_joined_and_cut_at_the_image():
    regions = [
        shapely.box(-50, 10, 60, 40),
        shapely.box(50, 10, 90, 40),
        shapely.box(200, 5, 210, 9),
    ]
    area = area_of_regions(regions, SIZE)
    assert area.equals(shapely.union(shapely.box(0, 10, 90, 40), regions[2]))
    wider = area_of_regions(regions, SIZE, 5)
    assert wider.contains(shapely.box(0, 5.1, 90, 44.9))
    assert wider.bounds == (0, 0, 215, 45)
    assert area_of_regions([shapely.box(500, 500, 600, 600)], SIZE).is_empty


def test_parts_that_are_no_polygons_are_left_out():
    inner = shapely.GeometryCollection(
        [shapely.box(0, 0, 4, 4), shapely.LineString([(0, 0), (9, 9)])]
    )
    mixed = shapely.GeometryCollection([inner, shapely.Point(1, 1), shapely.box(5, 5, 6, 6)])
    assert sorted(part.area for part in polygons_of(mixed)) == [1, 16]


def test_an_outline_that_crosses_itself_and_has_a_spike():
    crossing = [(0, 0), (10, 10), (10, 0), (0, 10)]
    spike = [(0, 0), (0, 10), (0, 20), (0, 0)]
    mended = shapely.make_valid(shapely.Polygon(crossing + spike))
    assert [part.geom_type for part in mended.geoms] == ["MultiPolygon", "LineString"]
    assert area_of_regions([mended], SIZE).area == pytest.approx(50)


CORNER = st.tuples(st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=150, deadline=None)
@given(st.lists(CORNER, min_size=3, max_size=12))
def test_mending_an_outline_keeps_its_area(corners):
    mended = shapely.make_valid(shapely.Polygon(corners))
    assert sum(part.area for part in polygons_of(mended)) == pytest.approx(mended.area)
    assert area_of_regions([mended, mended], SIZE).area == pytest.approx(mended.area)


def test_the_neighbourhood_ends_before_the_next_nucleus():
    # Spacing 20: gaps inside are closed, to the outside the area ends after 15 px.
    points = grid(20, 6, 5)
    points = points[~(points == (140, 140)).all(axis=1)]  # a nucleus that is not there
    area = area_around_points(points, SIZE)
    assert len(polygons_of(area)) == 1
    assert area.covers(shapely.box(100, 100, 200, 180))
    assert area.bounds == pytest.approx((85, 85, 215, 195), abs=0.5)
    assert area_around_points(points, SIZE, 3).bounds == pytest.approx((97, 97, 203, 183), abs=0.5)


def test_far_groups_stay_apart_and_a_gap_between_is_not_annotated():
    points = np.concatenate([grid(20, 3, 3, (30, 30)), grid(20, 3, 3, (250, 30))])
    area = area_around_points(points, SIZE)
    assert len(polygons_of(area)) == 2
    assert not area.intersects(shapely.box(110, 0, 210, 300))


@pytest.mark.parametrize("margin", [None, 0, 40])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 399.9), st.floats(0, 299.9)), min_size=1, max_size=30))
def test_no_point_falls_out(margin, points):
    points = np.array(points)
    area = area_around_points(points, SIZE, margin)
    assert area.is_valid
    assert shapely.dwithin(shapely.points(points), area, 1e-6).all()
    assert shapely.box(0, 0, 400, 300).buffer(1e-6).covers(area)


def test_points_far_apart_do_not_claim_what_is_between():
    area = area_around_points(np.array([[100.0, 100.0], [380.0, 250.0]]), SIZE)
    assert len(polygons_of(area)) == 2
    assert area.area < 2 * np.pi * 49**2


@pytest.mark.parametrize("seed", range(4))
def test_a_pixel_is_annotated_if_its_centre_is(seed):
    rng = np.random.default_rng(seed)
    ring = shapely.Point(40, 30).buffer(28).difference(shapely.Point(44, 31).buffer(15))
    island = rotate(shapely.box(40, 28, 46, 35), 30)  # inside the hole
    area = shapely.union_all([ring, island, shapely.box(*rng.uniform(70, 75, 2), 99.3, 88.8)])
    corner, size = (7, 3), (90, 95)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    expected = shapely.contains_xy(area, x + corner[0], y + corner[1])
    np.testing.assert_array_equal(area_mask(area, corner, size), expected)
    assert 0 < expected.sum() < expected.size
