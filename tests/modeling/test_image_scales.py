"""Averages over scales, with predictions that are known in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from selfsam_d2.modeling.image_scales import average_over_scales
from selfsam_d2.modeling.inference import NucleiInference

SCALES = st.lists(st.sampled_from([0.5, 0.8, 1.0, 1.3, 2.0]), min_size=1, max_size=3)


def ramp(height, width):
    """Where a pixel centre lies in the image, 0 to 1 in x and in y."""
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def smooth_image(height, width):
    return (255 * torch.cat([ramp(height, width), ramp(height, width)[:1]])).round().byte()


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 40), st.integers(12, 40), SCALES)
def test_what_follows_the_image_is_left_as_it_is(height, width, scales):
    # Positions relative to the image are the same in all its sizes, away from the border, where a
    # resized map repeats its outermost value.
    found = average_over_scales(
        lambda image: ramp(*image.shape[1:]), smooth_image(height, width), scales
    )
    border = 2
    inner = (slice(None), slice(border, -border), slice(border, -border))
    assert torch.allclose(found[inner], ramp(height, width)[inner], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(16, 24), st.integers(16, 24), SCALES)
def test_each_scale_is_seen_once_in_its_size(height, width, scales):
    image, seen = smooth_image(height, width), []

    def predict(resized):
        seen.append(resized)
        return resized.float()

    average_over_scales(predict, image, scales)
    assert [tuple(each.shape[1:]) for each in seen] == [
        (round(scale * height), round(scale * width)) for scale in scales
    ]
    for each in seen:
        assert each.dtype == torch.uint8
        want = resize(
            image.numpy().transpose(1, 2, 0).astype(float),
            each.shape[1:],
            mode="edge",
            anti_aliasing=False,
        )
        inner = np.s_[3:-3, 3:-3]
        assert np.abs(want[inner] - each.numpy().transpose(1, 2, 0)[inner]).max() < 2


def test_a_scale_of_one_changes_nothing():
    image = torch.randint(0, 256, (3, 9, 13), dtype=torch.uint8)
    assert torch.equal(average_over_scales(lambda each: each.float(), image, (1.0,)), image.float())


def test_scales_are_averaged():
    image = torch.zeros(3, 8, 10, dtype=torch.uint8)

    def predict(resized):
        return torch.full((3, *resized.shape[1:]), float(resized.shape[1]))

    found = average_over_scales(predict, image, (1.0, 2.0, 0.5))
    assert torch.equal(found, torch.full((3, 8, 10), (8 + 16 + 4) / 3))


def test_no_scale_is_refused():
    with pytest.raises(ValueError, match="at least one scale"):
        average_over_scales(lambda each: each, torch.zeros(3, 4, 4, dtype=torch.uint8), ())


def test_prediction_of_an_image_uses_them():
    image = torch.zeros(3, 50, 70, dtype=torch.uint8)
    inference = NucleiInference(window=32, overlap=8, crop=32, input_side=64, scales=(1.0, 2.0))
    windows = []

    def predict(batch):
        windows.append(len(batch))
        return torch.zeros(batch.shape)

    assert inference.predict_maps(predict, image).shape == (3, 50, 70)
    one = NucleiInference(window=32, overlap=8, crop=32, input_side=64)
    alone = sum(windows)
    windows.clear()
    one.predict_maps(predict, image)
    assert alone > 3 * sum(windows)
