"""Nuclei of clicked points, against the base masks that a training makes for the same window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.modeling.base_masks import predict_base_masks
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.prediction.prompted_nuclei import PromptedNuclei
from selfsam_d2.pseudo_labels.parts import keep_one_part

SIDE = 64


def base_masks(predictor, image, points):
    """(K, h, w) of an image that one window covers, without what is mirrored around it."""
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    ((corner, order, masks),) = predict_base_masks(
        predictor.model,
        tensor,
        torch.tensor(points, dtype=torch.float64).reshape(-1, 2),
        image_id="",
        window=SIDE,
        overlap=16,
    )
    assert order.tolist() == list(range(len(points)))
    top, left = -corner[0], -corner[1]
    return masks[:, top : top + image.shape[0], left : left + image.shape[1]]


@pytest.fixture(scope="module")
def image():
    return make_synthetic_image(np.random.default_rng(0), 96, 12)[0]


@pytest.mark.parametrize("size", [(SIDE, SIDE), (40, 51)])
def test_masks_are_those_of_the_base_encoder(tiny_predictor, image, size):
    image = image[: size[0], : size[1]]
    points = [(10.5, 12.5), (30.5, 20.5), (38.5, 39.5)]
    prompted = PromptedNuclei(tiny_predictor, image)
    for point in points:
        prompted.add(*point)
    found = prompted.prediction()
    masks = base_masks(tiny_predictor, image, points)
    np.testing.assert_allclose(found.foreground, masks.max(axis=0), atol=1e-5)
    owner = np.where(masks.max(axis=0) > 0.5, masks.argmax(axis=0) + 1, 0)
    expected = keep_one_part(torch.from_numpy(owner)).numpy()
    # A batch of prompts and one of them differ in the last digit, which may decide a pixel.
    assert (found.instance_map != expected).sum() <= 3
    assert len(found.scores) == len(np.unique(found.instance_map[found.instance_map > 0])) > 0


def test_a_point_at_the_border_is_seen_in_a_window_inside_the_image(tiny_predictor, image):
    prompted = PromptedNuclei(tiny_predictor, image)
    prompted.add(95.5, 60.0)
    found = prompted.prediction()
    # The window begins at y = 60 - 32, x = 96 - 64.
    (mask,) = base_masks(tiny_predictor, image[28:92, 32:], [(63.5, 32.0)])
    expected = np.zeros((96, 96), np.float32)
    expected[28:92, 32:] = mask
    np.testing.assert_allclose(found.foreground, expected, atol=1e-5)


def test_points_can_be_taken_away_and_must_lie_inside(tiny_predictor, image):
    prompted = PromptedNuclei(tiny_predictor, image)
    prompted.add(5, 5)
    assert len(prompted) == 1
    for place in ((-0.5, 5), (5, 96), (96.0, 5)):
        with pytest.raises(ValueError, match="inside 96 x 96"):
            prompted.add(*place)
    np.testing.assert_array_equal(prompted.points, [[5, 5]])
    prompted.clear()
    assert len(prompted) == len(prompted.prediction()) == 0


def test_nuclei_that_were_found_are_neighbours_unless_a_point_lies_in_them(tiny_predictor, image):
    image = image[:SIDE, :SIDE]
    instance_map = np.zeros((SIDE, SIDE), np.int32)
    instance_map[8:16, 8:16], instance_map[10:14, 30:34], instance_map[50:54, 50:54] = 1, 2, 5
    found = NucleiPrediction(
        image, instance_map, np.ones(3, np.float32), instance_map.astype(np.float32)
    )
    prompted = PromptedNuclei(tiny_predictor, image, found=found)
    prompted.add(10.5, 12.5)
    alone = PromptedNuclei(tiny_predictor, image)
    alone.add(10.5, 12.5)
    # Masks of the point with the centroids of the nuclei 2 and 5, of which it is the first.
    expected = base_masks(tiny_predictor, image, [(10.5, 12.5), (32.0, 12.0), (52.0, 52.0)])[0]
    np.testing.assert_allclose(prompted.prediction().foreground, expected, atol=1e-5)
    assert np.abs(alone.prediction().foreground - expected).max() > 1e-4
