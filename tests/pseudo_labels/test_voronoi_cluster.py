"""Voronoi and cluster labels against loops written from their description."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.pseudo_labels.voronoi_cluster import (
    VoronoiClusterLabels,
    colour_clusters,
    voronoi_cluster_label,
    voronoi_edges,
)

SIZE = 48
PINK, VIOLET = (235, 190, 215), (90, 60, 130)


def discs(centres, radius=6):
    """An image of violet discs on pink, and which pixel belongs to which disc (-1: none)."""
    image = np.empty((SIZE, SIZE, 3), dtype=np.uint8)
    image[:] = PINK
    owner = np.full((SIZE, SIZE), -1)
    for row in range(SIZE):
        for column in range(SIZE):
            for k, (x, y) in enumerate(centres):
                if (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius**2:
                    image[row, column] = VIOLET
                    owner[row, column] = k
    return image, owner


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=6))
def test_edges_are_the_pixels_with_another_neighbour(rows):
    owners = np.array(rows)
    found = voronoi_edges(owners)
    height, width = owners.shape
    for row in range(height):
        for column in range(width):
            around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            expected = any(
                0 <= y < height and 0 <= x < width and owners[y, x] != owners[row, column]
                for y, x in around
            )
            assert found[row, column] == expected


def test_clusters_are_where_k_means_stands_still():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    distance = rng.uniform(0, 30, (SIZE, SIZE))
    image[distance < 8] //= 3
    clusters = colour_clusters(image, distance)
    features = np.dstack([image / 10, np.minimum(distance, 20)]).reshape(-1, 4)
    centres = np.stack([features[clusters.ravel() == k].mean(axis=0) for k in range(3)])
    nearest = np.linalg.norm(features[:, None] - centres, axis=2).argmin(axis=1)
    # It stops after some rounds or when the centres hardly move: few pixels are still on the way.
    assert (nearest == clusters.ravel()).mean() > 0.97


def test_nuclei_are_found_in_their_cells_and_the_rest_is_background_or_ignored():
    centres = [(14.0, 15.0), (34.0, 16.0), (24.0, 36.0)]
    image, owner = discs(centres)
    points = torch.tensor(centres)
    label = voronoi_cluster_label(image, points, points)
    for k in range(3):
        assert set(np.unique(label[owner == k])) <= {k + 1, -1}
    far = np.ones((SIZE, SIZE), dtype=bool)
    for k, (x, y) in enumerate(centres):
        columns, rows = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
        distance = np.hypot(columns - x, rows - y)
        # Dilated by 5 px and eroded by 7, the disc of 6 px keeps one of about 4 px.
        assert (label[distance < 3.5] == k + 1).all()
        assert not (label[distance > 5] == k + 1).any()
        far &= distance >= 18  # the other cluster of the background is ignored
    assert (label[far] == 0).all()
    assert not (label[~far & (owner < 0)] > 3).any()


def test_touching_nuclei_are_parted_by_the_border_of_their_cells():
    centres = [(18.0, 24.0), (28.0, 24.0)]
    image, _ = discs(centres)
    points = torch.tensor(centres)
    label = voronoi_cluster_label(image, points, points)
    assert (label[20:28, 22:24] == 0).all()  # the two columns beside x = 23
    assert set(np.unique(label[:, :22])) <= {-1, 0, 1}
    assert set(np.unique(label[:, 24:])) <= {-1, 0, 2}


def test_a_point_is_nucleus_whatever_the_colour_says():
    image = np.full((SIZE, SIZE, 3), 200, dtype=np.uint8)
    points = torch.tensor([[10.0, 10.0], [12.0, 10.0]])  # the border runs between the two
    label = voronoi_cluster_label(image, points, points)
    assert label[9, 9] == 1
    assert label[9, 12] == 2


def test_distances_are_those_of_the_centres_of_pixels():
    """A point on tissue is a disc of 2 px, and 10 px around each point is no background."""
    stained = [(12.0, 12.0), (36.0, 14.0), (14.0, 36.0)]
    points = torch.tensor([*stained, (34.3, 34.6)])
    image, _ = discs(stained)
    label = voronoi_cluster_label(image, points, points)
    assert label.dtype == np.int64
    columns, rows = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    distances = np.stack([np.hypot(columns - x, rows - y) for x, y in points.tolist()])
    edges = voronoi_edges(distances.argmin(axis=0))
    assert np.array_equal(label == 4, distances[3] < 2)
    background = (label == 0) & ~edges
    assert distances.min(axis=0)[background].min() >= 10
    assert background.any()
    clusters = colour_clusters(image, distances.min(axis=0))
    far = clusters == np.bincount(clusters[distances.min(axis=0) > 15]).argmax()
    assert np.array_equal(background, far & ~edges & (distances.min(axis=0) >= 10))


def test_of_the_nuclei_cluster_parts_below_30_px_are_dropped():
    points = torch.tensor([(14.0, 15.0), (34.0, 16.0), (24.0, 33.0)])
    for missing, expected in ((0, 3), (1, -1)):
        image, _ = discs([(14.0, 15.0), (34.0, 16.0)])
        image[38:43, 21:27] = VIOLET  # 5 x 6 px, below the point of its cell
        image[38, 21 : 21 + missing] = PINK
        label = voronoi_cluster_label(image, points, points)
        assert (label[40, 23:25] == expected).all()  # its core, after closing and smoothing


def test_a_nucleus_of_a_point_outside_is_ignored_and_no_point_is_background():
    image, owner = discs([(24.0, 2.0), (24.0, 30.0)])
    inside = torch.tensor([[24.0, 30.0]])
    context = torch.cat([inside, torch.tensor([[24.0, -1.0]])])
    label = voronoi_cluster_label(image, inside, context)
    assert not (label[owner == 0] > 0).any()
    assert (label[owner == 0] == -1).any()
    nothing = torch.zeros(0, 2)
    empty = voronoi_cluster_label(image, nothing, nothing)
    assert empty.dtype == np.int64
    assert (empty == 0).all()
    # No point inside, one beyond: a background, and nothing that could have a number.
    assert set(np.unique(voronoi_cluster_label(image, nothing, context[1:]))) <= {-1, 0}


def test_as_a_label_maker_it_needs_no_mask_and_no_prediction():
    maker = VoronoiClusterLabels()
    assert (maker.fixed_alpha, maker.uses_adapted) == (0.0, False)
    image, _ = discs([(14.0, 15.0), (34.0, 16.0)])
    points = torch.tensor([[14.0, 15.0], [34.0, 16.0]])
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    label = maker.prompt_label(pixels, points, points)
    assert np.array_equal(label.labels.numpy(), voronoi_cluster_label(image, points, points))
    assert torch.equal(label.ignore_mask, label.labels == -1)
    assert torch.equal(label.raw_ids, label.labels.clamp(min=0))
    nuclei = label.labels > 0
    assert 0 < nuclei.sum() < nuclei.numel()
    assert torch.equal(label.overlap, nuclei.long())
    assert torch.equal(label.confidence, nuclei.float())
    assert label.entropy.shape == nuclei.shape
    assert not label.entropy.any()
    for foreground in (torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)):
        instance = maker.instance_label(label, foreground, consensus=True)
        assert torch.equal(instance.labels, label.labels)
        assert not instance.recovered.any()
