"""Runs against pixels, components against scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label

from selfsam_d2.evaluation.runs import find_runs

maps = arrays(
    st.sampled_from([np.int32, np.uint8, np.int64]),
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.sampled_from([0, 0, 1, 2, 7]),
)


@settings(max_examples=300, deadline=None)
@given(instance_map=maps)
def test_components_equal_those_of_scikit_image(instance_map):
    expected = label(instance_map, connectivity=2, background=0)
    runs = find_runs(instance_map)
    found = np.repeat(runs.components(0), runs.lengths).reshape(instance_map.shape)
    assert found.shape == instance_map.shape
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_maps_without_pixels(shape):
    empty = np.zeros(shape, np.int32)
    runs = find_runs(empty, empty)
    assert len(runs.starts) == len(runs.lengths) == len(runs.components(1)) == 0


@settings(max_examples=100, deadline=None)
@given(data=st.data(), first=maps)
def test_runs_begin_where_a_row_begins_or_an_id_changes(data, first):
    second = data.draw(arrays(np.int32, first.shape, elements=st.integers(0, 2)))
    expected = [
        y * first.shape[1] + x
        for y, x in np.ndindex(first.shape)
        if x == 0 or first[y, x] != first[y, x - 1] or second[y, x] != second[y, x - 1]
    ]
    runs = find_runs(first, second)
    assert runs.starts.tolist() == expected
    for index, each in enumerate((first, second)):
        assert np.array_equal(np.repeat(runs.ids[index], runs.lengths), each.ravel())
        numbers = np.repeat(runs.components(index), runs.lengths).reshape(each.shape)
        assert np.array_equal(numbers, label(each, connectivity=2, background=0))
