"""The stain as a witness, against sums written from the definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.pseudo_labels.stain import (
    add_stain_prior,
    haematoxylin_mask,
    haematoxylin_probability,
)

# Ruifrok & Johnston 2001: optical density of haematoxylin, eosin and DAB in red, green, blue.
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
BINS = 256


def concentration(image):
    light = np.maximum(image.astype(float) / 255, 1e-6)
    density = np.log(light) / math.log(1e-6)
    return np.maximum(density @ np.linalg.inv(STAINS), 0)[..., 0]


def otsu(values):
    """Middle of the bin that parts the values with the largest variance between the classes."""
    counts, edges = np.histogram(values, BINS)
    middles = (edges[:-1] + edges[1:]) / 2

    def between(last):
        low, high = counts[: last + 1], counts[last + 1 :]
        if not low.sum() or not high.sum():
            return 0.0
        means = [np.average(m, weights=c) for m, c in
                 ((middles[: last + 1], low), (middles[last + 1 :], high))]  # fmt: skip
        return low.sum() * high.sum() * (means[0] - means[1]) ** 2

    return middles[max(range(BINS - 1), key=between)]


def as_tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_probability_follows_its_definition(seed):
    image, _ = make_synthetic_image(np.random.default_rng(seed), 48, 5)
    smooth = ndimage.gaussian_filter(concentration(image), 1.0, mode="nearest")
    threshold = otsu(smooth)
    half = (smooth[smooth > threshold].mean() - smooth[smooth <= threshold].mean()) / 2
    expected = 1 / (1 + np.exp(-4 * (smooth - threshold) / half))
    found = haematoxylin_probability(as_tensor(image))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_nuclei_are_more_probable_than_stroma():
    image, true = make_synthetic_image(np.random.default_rng(3), 128, 20)
    found = haematoxylin_probability(as_tensor(image)).numpy()
    assert np.median(found[true > 0]) > 0.7
    assert np.median(found[true == 0]) < 0.2


def test_an_image_of_one_colour_says_nothing():
    assert torch.equal(
        haematoxylin_probability(torch.full((3, 8, 9), 200, dtype=torch.uint8)),
        torch.full((8, 9), 0.5),
    )


def test_the_prior_is_a_mean_in_the_cells():
    image, _ = make_synthetic_image(np.random.default_rng(1), 32, 4)
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 32, 32, generator=generator)
    cells = torch.zeros(2, 32, 32, dtype=torch.bool)
    cells[0, :, :20] = True
    cells[1, :, 20:] = True
    stain = haematoxylin_probability(as_tensor(image))
    found = add_stain_prior(base, as_tensor(image), cells, 0.25)
    for k in range(2):
        for row in range(0, 32, 5):
            for column in range(0, 32, 3):
                inside = (column < 20) == (k == 0)
                expected = 0.75 * base[k, row, column] + 0.25 * stain[row, column] * inside
                assert found[k, row, column] == pytest.approx(float(expected), abs=1e-6)
    assert torch.equal(add_stain_prior(base, as_tensor(image), cells, 0.0), base)


def test_shapes_and_weight_must_fit():
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    masks, cells = torch.zeros(2, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\(2, 8, 8\), \(1, 8, 8\) and \(3, 8, 8\)"):
        add_stain_prior(masks, image, cells[:1], 0.5)
    with pytest.raises(ValueError, match="`weight` to be in"):
        add_stain_prior(masks, image, cells, 1.5)


def test_haematoxylin_is_the_blue_stain():
    image = torch.empty(3, 8, 8, dtype=torch.uint8)
    image[:] = torch.tensor([235, 190, 215])[:, None, None]  # eosin
    image[:, 2:5, 3:7] = torch.tensor([90, 60, 150])[:, None, None]  # haematoxylin
    mask = haematoxylin_mask(image)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:5, 3:7] = True
    assert torch.equal(mask, expected)
    one_colour = haematoxylin_mask(image[:, :2, :1])
    assert torch.equal(one_colour, torch.ones(2, 1, dtype=torch.bool))


def test_a_weight_of_zero_or_one_leaves_one_witness():
    image = torch.randint(0, 256, (3, 6, 7), generator=torch.Generator().manual_seed(0))
    image, base = image.to(torch.uint8), torch.rand(2, 6, 7)
    cells = torch.rand(2, 6, 7) > 0.5
    assert torch.equal(add_stain_prior(base, image, cells, 0.0), base)
    stain = add_stain_prior(base, image, cells, 1.0)
    assert torch.equal(stain, haematoxylin_probability(image) * cells)
