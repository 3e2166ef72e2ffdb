"""Shift noise, spacing boxes and Voronoi cells against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.structures.points import (
    nearest_distances,
    nearest_others,
    shift_points,
    spacing_boxes,
    voronoi_cells,
)

SIZE = (60, 80)


def shifted(points, distance=8.0, law="radius", seed=0, image="a", ids=None, **options):
    return shift_points(
        np.asarray(points, dtype=float),
        distance=distance,
        seed=seed,
        image_id=image,
        annotation_ids=range(len(points)) if ids is None else ids,
        size=SIZE,
        law=law,
        **options,
    )


CENTRES = np.full((400, 2), 30.0)


def test_no_shift_leaves_points_alone():
    assert np.array_equal(shifted(CENTRES, 0.0), CENTRES)


def test_the_noise_belongs_to_the_annotation():
    every = shifted(CENTRES, ids=range(400))
    some = shifted(CENTRES[:3], ids=[7, 399, 0])
    assert np.array_equal(some, every[[7, 399, 0]])
    assert not np.array_equal(shifted(CENTRES, seed=1), every)
    assert not np.array_equal(shifted(CENTRES, image="b"), every)


def test_radius_law_is_uniform_in_distance():
    distances = np.linalg.norm(shifted(CENTRES) - CENTRES, axis=1)
    assert distances.max() <= 8
    assert np.mean(distances < 4) == pytest.approx(0.5, abs=0.08)


def test_disk_law_is_uniform_in_area():
    distances = np.linalg.norm(shifted(CENTRES, law="disk") - CENTRES, axis=1)
    assert distances.max() <= 8
    assert np.mean(distances < 4) == pytest.approx(0.25, abs=0.08)


def test_square_law_is_uniform_per_axis():
    offsets = np.abs(shifted(CENTRES, law="square") - CENTRES)
    assert offsets.max() <= 8
    assert (offsets < 4).mean() == pytest.approx(0.5, abs=0.08)


def test_inside_law_stays_in_the_nucleus():
    def contains(index, x, y):
        return abs(x - 30) < 2 and abs(y - 30) < 2

    found = shifted(CENTRES, law="inside", contains=contains)
    assert np.abs(found - 30).max() < 2
    assert len(np.unique(found, axis=0)) > 390


def test_results_are_clipped_to_the_image():
    corners = np.array([[0.0, 0.0], [79.9, 59.9]] * 50)
    found = shifted(corners, distance=30)
    assert (found >= 0).all()
    assert (found < (SIZE[1], SIZE[0])).all()


@pytest.mark.parametrize(
    ("options", "word"),
    [({"law": "cube"}, "law"), ({"distance": -1}, "distance"), ({"law": "inside"}, "contains")],
)
def test_bad_arguments_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        shifted(CENTRES, **options)


points = st.lists(
    st.tuples(st.integers(-20, 60), st.integers(-20, 60)), min_size=0, max_size=9, unique=True
)


@settings(max_examples=60, deadline=None)
@given(points)
def test_voronoi_cells_agree_with_a_loop(positions):
    context = torch.tensor(positions, dtype=torch.float32).reshape(-1, 2) / 2
    inside = ((context >= 0) & (context < torch.tensor([16.0, 12.0]))).all(dim=1)
    own = context[inside]
    owner = voronoi_cells(own, context, (12, 16))
    for row in range(12):
        for column in range(16):
            centre = np.array([column + 0.5, row + 0.5])
            squared = [float(((p.double().numpy() - centre) ** 2).sum()) for p in own]
            outer = [float(((p.double().numpy() - centre) ** 2).sum()) for p in context[~inside]]
            expected = -1
            if squared and min(squared) <= min(outer, default=np.inf):
                expected = squared.index(min(squared))
            assert int(owner[row, column]) == expected


def test_spacing_boxes_follow_the_equation():
    context = torch.tensor([[0.0, 0.0], [4.0, 0.0], [20.0, 0.0], [20.0, 10.0]])
    # Distances to the nearest other point: 4, 4, 10, 10; torch takes the lower median, 4.
    boxes = spacing_boxes(context[[2, 0]], context, scale=0.5)
    assert boxes.tolist() == [[18, -2, 22, 2], [-2, -2, 2, 2]]


def test_a_point_alone_gets_the_default_box():
    alone = torch.tensor([[5.0, 6.0]])
    assert spacing_boxes(alone, alone, default_radius=3).tolist() == [[2, 3, 8, 9]]
    assert nearest_distances(alone).tolist() == [float("inf")]


def test_nearest_others_leave_out_the_point_itself():
    context = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [5.5, 0.0]])
    assert nearest_others(context[[2, 0]], context, 2).tolist() == [[3, 1], [1, 2]]
    assert nearest_others(context[:1], context[:1], 2).shape == (1, 0)
    assert nearest_others(context[:1], context, 9).shape == (1, 3)


def test_points_at_one_position_count_once():
    context = torch.tensor([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0], [8.0, 0.0]])
    assert nearest_distances(context).tolist() == [6, 6, 2, 2]
    assert nearest_others(context[:2], context, 1).tolist() == [[2], [2]]
    assert nearest_others(context[:2], context, 9).shape == (2, 2)
    boxes = spacing_boxes(context[:2], context, scale=0.5)
    assert boxes.tolist() == [[-1, -1, 1, 1]] * 2
    twins = context[:2]
    assert nearest_distances(twins).tolist() == [float("inf")] * 2
    assert spacing_boxes(twins, twins, default_radius=3).tolist() == [[-3, -3, 3, 3]] * 2
