from __future__ import annotations

import numpy as np
import pytest

from selfsam_d2.evaluation.point_matches import match_points
from selfsam_d2.visualization.point_overlay import (
    NUCLEUS_COLORS,
    POINT_COLORS,
    draw_point_matches,
)

SIDE, FACTOR = 50, 20
BOXES = {  # kind -> row, column of a nucleus of 12 x 12 px
    "one point": (2, 2),
    "several points": (2, 18),
    "no point": (20, 2),
    "not counted": (36, 38),
}
POINTS = {"in": [(8.0, 8.0), (21.0, 8.0), (27.0, 8.0)], "out": [(40.0, 24.0)]}


@pytest.fixture
def drawn():
    """A pixel of the drawing for each pixel of the image."""
    instance_map = np.zeros((SIDE, SIDE), np.int32)
    for number, (row, column) in enumerate(BOXES.values(), start=1):
        instance_map[row : row + 12, column : column + 12] = number
    unknown = np.zeros((SIDE, SIDE), bool)
    unknown[-5:] = True
    points = np.array(POINTS["out"] + POINTS["in"])
    image = np.full((SIDE, SIDE, 3), (220, 160, 190), np.uint8)
    matches = match_points(points, instance_map, unknown)
    assert [matches.of_nucleus[number] for number in (1, 2, 3, 4)] == list(BOXES)
    picture = draw_point_matches(image, instance_map, points, matches)
    assert picture.shape == (SIDE * FACTOR, SIDE * FACTOR, 3)
    return picture


def has(drawn, color):
    return (drawn == np.array(color)).all(axis=2)


@pytest.mark.parametrize("kind", BOXES)
def test_contours_of_each_kind_have_its_colour(drawn, kind):
    row, column = BOXES[kind]
    middle = np.s_[FACTOR // 2 :: FACTOR]
    own = has(drawn, NUCLEUS_COLORS[kind])[middle, middle]
    rim = np.ones((12, 12), bool)
    thick = 2 if kind in ("no point", "several points") else 1
    rim[thick:-thick, thick:-thick] = False
    assert (own[row : row + 12, column : column + 12] | ~rim).all()
    outside = own.copy()
    outside[row : row + 12, column : column + 12] = False
    assert outside.sum() <= len(POINTS["in"])  # discs of points, which may share the colour


@pytest.mark.parametrize("place", POINTS)
def test_points_are_drawn_in_their_place(drawn, place):
    own = has(drawn, POINT_COLORS[place])
    for x, y in POINTS[place]:
        assert own[int(y * FACTOR), int(x * FACTOR)]
    other = "out" if place == "in" else "in"
    for x, y in POINTS[other]:
        assert not own[int(y * FACTOR), int(x * FACTOR)]


def test_what_is_told_apart_has_colours_of_its_own():
    kinds = [NUCLEUS_COLORS[kind] for kind in BOXES]
    assert len(set(kinds)) == len(kinds)
    assert POINT_COLORS["out"] not in kinds
    assert POINT_COLORS["in"] == NUCLEUS_COLORS["one point"]
