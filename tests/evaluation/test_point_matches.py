"""Points and predicted nuclei against a loop over pixels, written from the definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfsam_d2.evaluation.point_matches import PointMatches, match_points
from tests.evaluation.loops import nuclei_of

HEIGHT, WIDTH = 6, 8
NOWHERE = np.zeros((HEIGHT, WIDTH), bool)


def counts_by_loop(points: Any, instance_map: Any, unknown: Any) -> dict[str, int]:
    nuclei = nuclei_of(instance_map)
    inside = 0
    held = [0] * len(nuclei)
    for x, y in points:
        for number, pixels in enumerate(nuclei):
            # Pixel (row, column) covers [row, row + 1) x [column, column + 1).
            if any(row <= y < row + 1 and column <= x < column + 1 for row, column in pixels):
                inside += 1
                held[number] += 1
    judged = [
        load
        for load, pixels in zip(held, nuclei, strict=True)
        if load or not any(unknown[pixel] for pixel in pixels)
    ]
    return {
        "points": len(points),
        "nuclei found": len(judged),
        "points without a nucleus": len(points) - inside,
        "nuclei without a point": sum(load == 0 for load in judged),
        "nuclei with several points": sum(load > 1 for load in judged),
    }


coordinate = st.floats(0, 1, exclude_max=True, allow_nan=False, width=32)
points_of_an_image = st.lists(st.tuples(coordinate, coordinate), max_size=12).map(
    lambda drawn: np.array(drawn, np.float64).reshape(-1, 2) * (WIDTH, HEIGHT)
)


@given(
    points_of_an_image,
    arrays(np.int32, (HEIGHT, WIDTH), elements=st.sampled_from([0, 0, 1, 2, 5, 9])),
    arrays(np.bool_, (HEIGHT, WIDTH), elements=st.sampled_from([False, False, False, True])),
)
def test_counts_are_those_of_the_loop(points: Any, instance_map: Any, unknown: Any) -> None:
    matches = match_points(points, instance_map, unknown)
    expected = counts_by_loop(points, instance_map, unknown)
    assert matches.counts() == expected
    wrong = expected["points without a nucleus"] + expected["nuclei without a point"]
    if len(points):
        assert matches.difference() == wrong / len(points)


def drawn_example() -> PointMatches:
    instance_map = np.zeros((HEIGHT, WIDTH), np.int32)
    instance_map[0:2, 0:2] = 3  # holds one point
    instance_map[0:2, 2:4] = 4  # holds two
    instance_map[4:6, 0:2] = 7  # holds none
    instance_map[4:6, 6:8] = 9  # holds none, and reaches into what nobody annotated
    instance_map[0:2, 6:8] = 8  # reaches there, too, but holds one
    unknown = np.zeros((HEIGHT, WIDTH), bool)
    unknown[:, 7] = True
    points = np.array([(1.99, 1.99), (2, 0), (3.5, 1.5), (6.5, 0.5), (4, 1), (0.5, 2.0)])
    return match_points(points, instance_map, unknown)


def test_a_drawn_example() -> None:
    matches = drawn_example()
    assert matches.of_point.tolist() == [3, 4, 4, 8, 0, 0]
    assert matches.of_nucleus == {
        3: "one point",
        4: "several points",
        7: "no point",
        8: "one point",
        9: "not counted",
    }
    assert matches.counts() == {
        "points": 6,
        "nuclei found": 4,
        "points without a nucleus": 2,
        "nuclei without a point": 1,
        "nuclei with several points": 1,
    }
    assert matches.difference() == 3 / 6


def test_no_points_and_no_nuclei() -> None:
    none = match_points(np.zeros((0, 2)), np.zeros((HEIGHT, WIDTH), np.int32), NOWHERE)
    assert set(none.counts().values()) == {0}
    with pytest.raises(ValueError, match="no point"):
        none.difference()


@pytest.mark.parametrize("point", [(-0.1, 0.0), (0.0, -0.1), (WIDTH, 0.0), (0.0, HEIGHT)])
def test_refuses_points_outside(point: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="inside"):
        match_points(np.array([point]), np.zeros((HEIGHT, WIDTH), np.int32), NOWHERE)


def test_refuses_a_mask_of_another_size() -> None:
    with pytest.raises(ValueError, match="of one size"):
        match_points(np.zeros((0, 2)), np.zeros((HEIGHT, WIDTH), np.int32), NOWHERE[1:])
