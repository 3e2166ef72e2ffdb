"""Sliding windows: cover, identity, and which window a pixel is taken from."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.errors import InputError
from selfsam_d2.modeling.sliding_window import predict_by_windows, window_grid


@st.composite
def layouts(draw):
    window = draw(st.integers(1, 12))
    overlap = draw(st.integers(0, window - 1))
    return draw(st.integers(1, 40)), draw(st.integers(1, 40)), window, overlap


def image_of(height, width):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


@given(layouts())
@settings(max_examples=60, deadline=None)
def test_grid_covers_the_image_from_inside(layout):
    height, width, window, overlap = layout
    grid = window_grid(height, width, window, overlap)
    covered = torch.zeros(max(height, window), max(width, window), dtype=torch.bool)
    for y, x in grid:
        assert 0 <= y <= covered.shape[0] - window
        assert 0 <= x <= covered.shape[1] - window
        covered[y : y + window, x : x + window] = True
    assert covered.all()
    assert len(set(grid)) == len(grid)
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in grid})
        steps = [b - a for a, b in pairwise(starts)]
        assert all(step == window - overlap for step in steps[:-1])
        assert all(step <= window - overlap for step in steps[-1:])


def test_grid_of_a_slide_tile():
    starts = [0, 144, 288, 432, 576, 720, 776]
    assert window_grid(1000, 1000, 224, 80) == [(y, x) for y in starts for x in starts]
    assert window_grid(224, 225, 224, 80) == [(0, 0), (0, 1)]
    assert window_grid(100, 50, 224, 80) == [(0, 0)]


@given(layouts(), st.sampled_from(["centre", "blend"]), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_identity_returns_the_image(layout, blend, batch_size):
    height, width, window, overlap = layout
    image = image_of(height, width)
    batches = []

    def identity(windows):
        batches.append(len(windows))
        assert windows.shape[1:] == (3, window, window)
        return windows

    result = predict_by_windows(
        image, identity, window=window, overlap=overlap, blend=blend, batch_size=batch_size
    )
    assert result.shape == image.shape
    if blend == "centre":
        assert torch.equal(result, image)
    else:
        torch.testing.assert_close(result, image)
    assert max(batches) <= batch_size
    assert sum(batches) == len(window_grid(height, width, window, overlap))


@given(layouts())
@settings(max_examples=40, deadline=None)
def test_centre_takes_each_pixel_from_the_nearest_window(layout):
    height, width, window, overlap = layout
    counter = iter(range(10_000))

    def number_of_window(windows):
        return torch.stack([torch.full((1, window, window), next(counter)) for _ in windows])

    result = predict_by_windows(image_of(height, width), number_of_window, window, overlap)[0]
    grid = window_grid(height, width, window, overlap)
    top, left = max(window - height, 0) // 2, max(window - width, 0) // 2
    for row in range(height):
        for column in range(width):
            # Twice the distances, so that ties are exact.
            distances = [
                (2 * (row + top - y) + 1 - window) ** 2
                + (2 * (column + left - x) + 1 - window) ** 2
                for y, x in grid
            ]
            assert int(result[row, column]) == distances.index(min(distances))


def test_centre_keeps_the_borders_of_windows_out():
    window, overlap = 16, 8
    position = torch.arange(window)
    depth = torch.minimum(position, window - 1 - position)
    depth = torch.minimum(depth[:, None], depth[None])

    def depth_in_window(windows):
        return depth.expand(len(windows), 1, window, window).float()

    image = image_of(48, 64)
    kept = predict_by_windows(image, depth_in_window, window, overlap)[0]
    assert kept[4:-4, 4:-4].min() == overlap // 2
    blended = predict_by_windows(image, depth_in_window, window, overlap, "blend")[0]
    assert blended[4:-4, 4:-4].min() < overlap // 2


def test_blend_weights_are_the_documented_ones():
    window, length = 6, 9
    values = torch.tensor([1.0, 5.0])
    counter = iter(values)

    def constants(windows):
        return torch.stack([torch.full((1, window, window), next(counter)) for _ in windows])

    image = torch.zeros(3, window, length)
    result = predict_by_windows(image, constants, window, 3, "blend", batch_size=1)[0]
    for column in range(length):
        weights = [
            math.sin(math.pi * (column - start + 0.5) / window) ** 2
            if 0 <= column - start < window
            else 0.0
            for start in (0, 3)
        ]
        expected = (weights[0] * 1 + weights[1] * 5) / sum(weights)
        torch.testing.assert_close(result[:, column], torch.full((window,), expected))


def test_a_small_image_is_mirrored_evenly():
    seen = []

    def spy(windows):
        seen.append(windows)
        return windows

    image = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    assert torch.equal(predict_by_windows(image, spy, 7, 2), image)
    row = [3, 2, 1, 2, 3, 2, 1]
    other = [6, 5, 4, 5, 6, 5, 4]
    assert seen[0][0, 0].tolist() == [row, other, row, other, row, other, row]


def test_type_of_image_and_of_prediction():
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)

    def first_channel(windows):
        assert windows.dtype == torch.uint8
        return windows[:, :1].double()

    for blend in ("centre", "blend"):
        result = predict_by_windows(image, first_channel, 8, 3, blend)
        assert result.dtype == torch.float64
        torch.testing.assert_close(result, image[:1].double())


def test_bad_settings_are_named():
    image = image_of(20, 20)
    with pytest.raises(InputError, match=r"^overlap: .*8"):
        predict_by_windows(image, lambda x: x, 8, 8)
    with pytest.raises(InputError, match=r"^overlap: .*-1"):
        window_grid(20, 20, 8, -1)
    with pytest.raises(InputError, match=r"^window: .*0"):
        window_grid(20, 20, 0, 0)
    with pytest.raises(InputError, match=r"^image: .*0 x 20"):
        window_grid(0, 20, 8, 2)
    with pytest.raises(InputError, match=r"^blend: .*mean"):
        predict_by_windows(image, lambda x: x, 8, 2, "mean")
    with pytest.raises(InputError, match=r"^batch_size: .*0"):
        predict_by_windows(image, lambda x: x, 8, 2, batch_size=0)
    with pytest.raises(ValueError, match="image"):
        predict_by_windows(image[None], lambda x: x, 8, 2)
    with pytest.raises(ValueError, match="predict"):
        predict_by_windows(image, lambda x: x[..., ::2, ::2], 8, 2)
