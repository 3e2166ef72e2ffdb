"""Flooding object by object gives what flooding the whole image gives."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.segmentation import watershed

from selfsam_d2.modeling import marker_watershed as module
from selfsam_d2.modeling.marker_watershed import marker_watershed


def label(mask):
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1].astype(np.int32)


def scene(seed, size, cover, marked):
    """Blobs with some markers in them; no two pixels of one height."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 2)
    objects = label(noise > np.quantile(noise, 1 - cover))
    markers = label((rng.random(size) < marked) & (objects > 0))
    return rng.permutation(size[0] * size[1]).reshape(size).astype(float), markers, objects


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    cover=st.floats(0, 1),
    marked=st.sampled_from([0.0, 0.002, 0.02, 0.3, 1.0]),
)
def test_equals_the_watershed_of_the_whole_image(seed, size, cover, marked):
    heights, markers, objects = scene(seed, size, cover, marked)
    expected = watershed(heights, markers, mask=objects > 0)
    found = marker_watershed(heights, markers, objects)
    assert found.dtype == np.int32
    assert np.array_equal(found, expected)


def test_only_objects_with_several_markers_are_flooded(monkeypatch):
    objects = np.zeros((30, 12), np.int32)
    markers = np.zeros_like(objects)
    for number, marks in enumerate([1, 2, 0, 3, 1], start=1):
        objects[6 * number - 6 : 6 * number - 1] = number
        for mark in range(marks):
            markers[6 * number - 4, 4 * mark] = markers.max() + 1
    flooded = []

    def spy(heights, markers, mask):
        flooded.append(mask)
        return watershed(heights, markers, mask=mask)

    monkeypatch.setattr(module, "watershed", spy)
    found = marker_watershed(np.zeros(objects.shape), markers, objects)
    assert [mask.shape for mask in flooded] == [(5, 12), (5, 12)]
    assert [sorted(np.unique(found[objects == number])) for number in range(1, 6)] == [
        [1],
        [2, 3],
        [0],
        [4, 5, 6],
        [7],
    ]


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.int32,
        array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=st.sampled_from([0, 1, 1, 1, 2]),
    )
)
def test_a_pixel_is_surrounded_where_its_four_neighbours_are_of_its_marker(markers):
    found = module._surrounded(markers)
    height, width = markers.shape
    for y, x in np.ndindex(markers.shape):
        near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = all(0 <= i < height and 0 <= j < width for i, j in near)
        expected = inside and markers[y, x] > 0 and all(markers[at] == markers[y, x] for at in near)
        assert found[y, x] == expected


def test_thick_markers_are_flooded_from_their_rims():
    # Two thick markers in one object, their wall nearer to the second.
    objects = np.ones((21, 40), np.int32)
    markers = np.zeros_like(objects)
    markers[3:18, 3:12], markers[4:17, 25:37] = 1, 2
    heights = np.random.default_rng(0).permutation(objects.size).reshape(objects.shape) / 1e6
    heights += -np.abs(np.arange(40) - 20.0)
    expected = watershed(heights, markers, mask=objects > 0)
    assert np.array_equal(marker_watershed(heights, markers, objects), expected)
    assert set(np.unique(expected)) == {1, 2}
