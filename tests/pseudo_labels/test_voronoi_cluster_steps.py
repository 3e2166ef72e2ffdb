"""Voronoi and cluster labels of drawn crops, against scikit-image step by step."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from skimage.morphology import dilation, disk, erosion

from selfsam_d2.data.synthetic import make_synthetic_image
from selfsam_d2.pseudo_labels.voronoi_cluster import colour_clusters, voronoi_cluster_label

SIZE = 96


def draw(seed):
    """A crop with nuclei, points inside it and around it, and specks too small to be nuclei."""
    rng = np.random.default_rng(seed)
    image, true = make_synthetic_image(rng, SIZE, 12)
    for _ in range(8):
        row, column = rng.integers(0, SIZE - 6, 2)
        height, width = rng.integers(2, 7, 2)
        image[row : row + height, column : column + width] = image[true > 0].mean(axis=0)
    inside = np.array([centre[::-1] for centre in ndimage.center_of_mass(
        true > 0, true, np.unique(true)[1:])]) + 0.5  # fmt: skip
    inside += rng.uniform(-2, 2, inside.shape)
    inside = inside[((inside >= 0) & (inside < SIZE)).all(axis=1)]
    around = np.array([[-4.0, 30.5], [SIZE + 3.0, 50.5]])
    return image, inside, np.concatenate([inside, around])


def distances(context):
    columns, rows = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    return np.stack([np.hypot(columns - x, rows - y) for x, y in context])


def expected_label(image, points, context):
    every = distances(context)
    nearest, owner = every.min(axis=0), every.argmin(axis=0)
    clusters = colour_clusters(image, nearest)
    nuclei_name = max(range(3), key=lambda k: ((clusters == k) & (nearest < 1)).sum())
    rest = [k for k in range(3) if k != nuclei_name]
    background_name = min(rest, key=lambda k: ((clusters == k) & (nearest < 5)).sum())
    parts, count = ndimage.label(clusters == nuclei_name, np.ones((3, 3)))
    large = [part for part in range(1, count + 1) if (parts == part).sum() >= 30]
    nuclei = np.zeros((SIZE, SIZE), dtype=bool)
    for k in range(len(context)):
        # The cells of all points outside are one.
        cell = owner == k if k < len(points) else owner >= len(points)
        whole = np.pad(np.isin(parts, large) & cell, 20)
        closed = ndimage.binary_fill_holes(dilation(whole, disk(5)))
        nuclei |= erosion(closed, disk(7))[20:-20, 20:-20]
    label = np.full((SIZE, SIZE), -1)
    label[(clusters == background_name) & ~nuclei & (nearest >= 10)] = 0
    label[nuclei] = np.where(owner < len(points), owner + 1, -1)[nuclei]
    cells = np.where(owner < len(points), owner, -1)
    padded = np.pad(cells, 1, mode="edge")
    for shift in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other = padded[shift[0] : shift[0] + SIZE, shift[1] : shift[1] + SIZE]
        label[cells != other] = 0
    at_point = (nearest < 2) & (owner < len(points))
    label[at_point] = owner[at_point] + 1
    return label


@pytest.mark.parametrize("seed", range(6))
def test_labels_are_those_of_the_steps(seed):
    image, points, context = draw(seed)
    expected = expected_label(image, points, context)
    assert {-1, 0} < set(np.unique(expected))
    found = voronoi_cluster_label(image, torch.from_numpy(points), torch.from_numpy(context))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_those_of_scipy_after_as_many_rounds(seed):
    image, _, context = draw(seed)
    nearest = distances(context).min(axis=0)
    features = np.dstack([image / 10, np.minimum(nearest, 20)]).reshape(-1, 4)
    rings = (nearest >= 5).astype(int) + (nearest >= 12)
    start = np.stack([features[rings.ravel() == k].mean(axis=0) for k in range(3)])
    _, expected = kmeans2(features, start, iter=19, minit="matrix")
    found = colour_clusters(image, nearest).ravel()
    assert (found == expected).mean() > 0.99
