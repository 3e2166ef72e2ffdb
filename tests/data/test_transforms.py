"""The affine crop: image, labels and points go through one map."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from selfsam_d2.data.transforms import (
    AffineCropTransform,
    draw_affine_crop,
    jitter_color,
)


def blob(size, x, y, sigma=4.0):
    """A Gaussian whose centre of mass is (x, y) in continuous coordinates."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def centre_of_mass(image):
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return (image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_points_follow_the_image(seed):
    rng = np.random.default_rng(seed)
    transform = draw_affine_crop(rng, (620, 600), 128)
    x, y = np.linalg.solve(transform.matrix[:, :2], [64.0, 70.0] - transform.matrix[:, 2])
    # So far from the borders that the crop shows no mirrored blob.
    assume(170 < x < 430 and 170 < y < 450)
    moved = transform.apply_coords(np.array([[x, y]]))[0]
    assert moved == pytest.approx([64, 70])
    found = centre_of_mass(transform.apply_image(blob((620, 600), x, y)))
    assert found == pytest.approx(tuple(moved), abs=0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_labels_follow_the_points(seed):
    rng = np.random.default_rng(seed)
    transform = draw_affine_crop(rng, (200, 200), 96)
    labels = np.arange(200 * 200, dtype=np.int32).reshape(200, 200)
    cropped = transform.apply_segmentation(labels)
    assert cropped.dtype == np.int32
    for row, column in ((10, 20), (50, 50), (80, 5)):
        source = np.linalg.solve(
            transform.matrix[:, :2], [column + 0.5, row + 0.5] - transform.matrix[:, 2]
        )
        if not ((source > 1) & (source < 199)).all():
            continue
        near = {
            labels[int(source[1] + dy), int(source[0] + dx)]
            for dx in (-0.05, 0.05)
            for dy in (-0.05, 0.05)
        }
        assert cropped[row, column] in near


def test_a_plain_crop_copies_pixels():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    transform = AffineCropTransform(np.array([[1.0, 0, -7], [0, 1.0, -5]]), (20, 30))
    assert np.array_equal(transform.apply_image(image), image[5:25, 7:37])
    assert transform.apply_coords(np.array([[7.5, 5.5]])).tolist() == [[0.5, 0.5]]


def test_beyond_the_image_labels_are_background():
    transform = AffineCropTransform(np.array([[1.0, 0, 4], [0, 1.0, 0]]), (10, 10))
    found = transform.apply_segmentation(np.ones((10, 10), np.uint8))
    assert (found[:, :4] == 0).all()
    assert (found[:, 4:] == 1).all()


def test_a_flip_mirrors():
    matrices = [
        draw_affine_crop(
            np.random.default_rng(s), (64, 64), 64, scale=(1, 1), shear=0, rotation=0, flip=1
        ).matrix
        for s in range(3)
    ]
    for matrix in matrices:
        assert matrix == pytest.approx(np.array([[-1, 0, 64], [0, 1, 0]]))


def test_most_of_a_crop_lies_in_the_image():
    covered = np.ones((300, 300), np.uint8)
    shares = [
        draw_affine_crop(np.random.default_rng(s), (300, 300), 128)
        .apply_segmentation(covered)
        .mean()
        for s in range(200)
    ]
    assert np.mean(shares) > 0.93


def test_the_draw_is_fixed_by_its_generator():
    first, second = (draw_affine_crop(np.random.default_rng(5), (90, 90), 32) for _ in range(2))
    assert np.array_equal(first.matrix, second.matrix)


def test_color_jitter_keeps_form_and_range():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    assert np.array_equal(jitter_color(image, np.random.default_rng(0), 0.0), image)
    changed = jitter_color(image, np.random.default_rng(0), 0.2)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, image)
    ratio = changed.mean() / image.mean()
    assert 0.75 < ratio < 1.25


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_outside_is_where_no_pixel_of_the_image_lands(seed):
    transform = draw_affine_crop(np.random.default_rng(seed), (40, 60), 48)
    outside = transform.outside((40, 60))
    covered = transform.apply_segmentation(np.ones((40, 60), np.uint8)) > 0
    # OpenCV rounds positions to 1/32 px, so only pixels on the very border may differ.
    border = covered ^ ndimage.binary_erosion(covered, iterations=2, border_value=1)
    border |= ~covered ^ ndimage.binary_erosion(~covered, iterations=2, border_value=1)
    assert outside.shape == (48, 48)
    assert np.array_equal(outside[~border], ~covered[~border])
