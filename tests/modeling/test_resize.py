"""Resizing of maps: no shift between the crop, the side S and the logits' S/4."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.modeling.resize import resize_maps


def centres(size):
    """Continuous coordinates of pixel centres, as a share of the side."""
    return (torch.arange(size, dtype=torch.float64) + 0.5) / size


def soft_disc(size, centre, radius):
    """(1, 1, size, size) disc with a soft border; centre and radius as shares of the side."""
    x, y = centres(size)[None], centres(size)[:, None]
    distance = torch.hypot(x - centre[0], y - centre[1])
    return torch.sigmoid((radius - distance) * 112)[None, None]


def centroid(maps, side):
    """(x, y) of the weighted mean position in px of an image of the given side."""
    weight = maps[0, 0] / maps.sum()
    position = centres(maps.shape[-1]) * side
    return torch.stack([(weight.sum(0) * position).sum(), (weight.sum(1) * position).sum()])


@pytest.mark.parametrize("side", [256, 448, 512, 1024])
def test_logit_maps_come_back_to_the_crop_without_a_shift(side):
    for centre in ((0.5, 0.5), (0.41, 0.63), (0.3333, 0.2718)):
        low_res = soft_disc(side // 4, centre, 0.15)
        crop = resize_maps(low_res, (224, 224))
        expected = 224 * torch.tensor(centre, dtype=torch.float64)
        torch.testing.assert_close(centroid(crop, 224), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("side", [256, 448, 512, 1024])
def test_to_the_encoder_and_back_does_not_shift(side):
    crop = soft_disc(224, (0.37, 0.58), 0.1)
    back = resize_maps(resize_maps(crop, (side, side)), (224, 224))
    torch.testing.assert_close(centroid(back, 224), centroid(crop, 224), atol=0.01, rtol=0)
    assert (back - crop).abs().max() < 0.15


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_values_equal_the_formula(height, width, new_height, new_width):
    maps = torch.rand(height, width, generator=torch.Generator().manual_seed(0)).double()
    result = resize_maps(maps[None, None], (new_height, new_width))[0, 0]

    def sample(index, new_size, size):
        position = max((index + 0.5) * size / new_size - 0.5, 0.0)
        low = min(int(position), size - 1)
        return low, min(low + 1, size - 1), position - low

    for row in range(new_height):
        top, bottom, down = sample(row, new_height, height)
        for column in range(new_width):
            left, right, across = sample(column, new_width, width)
            expected = (1 - down) * (
                (1 - across) * maps[top, left] + across * maps[top, right]
            ) + down * ((1 - across) * maps[bottom, left] + across * maps[bottom, right])
            assert float(result[row, column]) == pytest.approx(float(expected), abs=1e-6)


def test_flips_commute_and_the_same_size_changes_nothing():
    maps = torch.rand(2, 3, 28, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        resize_maps(maps.flip(-1), (56, 49)), resize_maps(maps, (56, 49)).flip(-1)
    )
    torch.testing.assert_close(resize_maps(maps, maps.shape[-2:]), maps)
    assert resize_maps(maps, (7, 9)).shape == (2, 3, 7, 9)
