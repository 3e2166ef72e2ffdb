"""Centres of nuclei against a slow loop written from the definition."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfsam_d2.errors import InputError
from selfsam_d2.structures.centre import nucleus_centre, nucleus_centres

HALF = Fraction(1, 2)


def reference_centre(mask, rule):
    """Exact fractions, pixel by pixel in row-major order."""
    pixels = [(i, j) for i in range(mask.shape[0]) for j in range(mask.shape[1]) if mask[i, j]]
    rows, columns = zip(*pixels, strict=True)
    if rule == "box":
        return (
            Fraction(min(columns) + max(columns) + 1, 2),
            Fraction(min(rows) + max(rows) + 1, 2),
        )
    x = Fraction(sum(columns), len(pixels)) + HALF
    y = Fraction(sum(rows), len(pixels)) + HALF
    if mask[y.__floor__(), x.__floor__()]:
        return x, y
    best = None
    for i, j in pixels:
        distance = (j + HALF - x) ** 2 + (i + HALF - y) ** 2
        if best is None or distance < best[0]:
            best = (distance, j + HALF, i + HALF)
    return best[1:]


small_maps = arrays(
    np.int32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.sampled_from([-1, 0, 0, 2, 3, 700]),
)


@pytest.mark.parametrize("rule", ["centroid", "box"])
@settings(deadline=None, max_examples=150)
@given(instance_map=small_maps)
def test_agrees_with_the_definition(rule, instance_map):
    ids, points = nucleus_centres(instance_map, rule)
    assert ids.tolist() == sorted(set(instance_map[instance_map > 0].tolist()))
    assert points.shape == (len(ids), 2)
    for nucleus, point in zip(ids, points, strict=True):
        expected = reference_centre(instance_map == nucleus, rule)
        np.testing.assert_allclose(point, [float(value) for value in expected], atol=1e-12)
        np.testing.assert_array_equal(nucleus_centre(instance_map == nucleus, rule), point)


@settings(deadline=None, max_examples=100)
@given(instance_map=small_maps)
def test_a_centroid_lies_in_its_nucleus(instance_map):
    ids, points = nucleus_centres(instance_map)
    columns, rows = np.floor(points).astype(int).T
    np.testing.assert_array_equal(instance_map[rows, columns], ids)


def test_one_pixel_has_its_centre_at_a_half():
    mask = np.zeros((5, 7))
    mask[3, 6] = 1
    for rule in ("centroid", "box"):
        np.testing.assert_array_equal(nucleus_centre(mask, rule), [6.5, 3.5])


def test_ring_takes_the_first_of_the_nearest_pixels():
    ring = np.ones((3, 3), dtype=bool)
    ring[1, 1] = False
    # Four pixels are equally near; (row 0, column 1) comes first in row-major order.
    np.testing.assert_array_equal(nucleus_centre(ring), [1.5, 0.5])
    np.testing.assert_array_equal(nucleus_centre(ring, "box"), [1.5, 1.5])


def test_two_pieces_of_one_id_are_one_nucleus():
    instance_map = np.zeros((4, 10), dtype=np.uint16)
    instance_map[1, [0, 9]] = 40000
    ids, points = nucleus_centres(instance_map)
    assert ids.tolist() == [40000]
    np.testing.assert_array_equal(points, [[0.5, 1.5]])


@pytest.mark.parametrize("rule", ["centroid", "box"])
def test_map_without_nuclei(rule):
    ids, points = nucleus_centres(np.zeros((6, 4), dtype=np.int32), rule)
    assert ids.shape == (0,)
    assert points.shape == (0, 2)


def test_bad_arguments():
    with pytest.raises(InputError, match=r'"middle".*centroid, box'):
        nucleus_centres(np.ones((3, 3), dtype=int), "middle")
    with pytest.raises(ValueError, match="at least one nonzero"):
        nucleus_centre(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"\(H, W\).*\(2, 3, 3\)"):
        nucleus_centres(np.ones((2, 3, 3), dtype=int))


def test_many_nuclei_take_less_than_two_seconds():
    cells = np.arange(1, 1 + 45 * 45).reshape(45, 45)
    instance_map = np.kron(cells, np.ones((22, 22), dtype=np.int64))
    instance_map[5:-5:22, :] = 0
    hollow = np.pad(np.zeros((20, 20), dtype=bool), 1, constant_values=True)
    instance_map *= np.tile(hollow, (45, 45))  # no centroid is inside its nucleus
    start = time.perf_counter()
    ids, _ = nucleus_centres(instance_map)
    assert len(ids) == 45 * 45
    assert time.perf_counter() - start < 2
