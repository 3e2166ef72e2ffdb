"""When points look as if only a part of the image was annotated: both sides of the rule."""

from __future__ import annotations

import numpy as np
import pytest

from selfsam_d2.data.point_datasets.coverage import covered_share, is_one_part

SIZE = (500, 1000)


def spread(count, share, seed=0):
    """Points whose box takes this share of the image, two of them in its corners."""
    sides = np.sqrt(share) * np.array(SIZE[::-1])
    inside = np.random.default_rng(seed).uniform(0, sides, (count - 2, 2))
    return np.concatenate([np.zeros((1, 2)), inside, sides[None]])


@pytest.mark.parametrize("count", [5, 7, 20, 400])
def test_the_rule_on_both_sides(count):
    limit = ((count - 1) / (count + 1)) ** 2 / 3
    for share, expected in ((0.98 * limit, True), (1.02 * limit, False)):
        points = spread(count, share)
        assert covered_share(points, SIZE) == pytest.approx(share)
        assert is_one_part(points, SIZE) == expected


def test_few_points_say_nothing():
    assert not is_one_part(spread(4, 0.001), SIZE)
    assert is_one_part(spread(5, 0.001), SIZE)
    assert not is_one_part(np.zeros((0, 2)), SIZE)
    assert covered_share(np.zeros((0, 2)), SIZE) == 0


@pytest.mark.parametrize(("count", "at_most"), [(5, 0.04), (7, 0.01), (15, 0.001)])
def test_sparse_tissue_passes(count, at_most):
    images = np.random.default_rng(0).uniform(0, SIZE[::-1], (4000, count, 2))
    assert np.mean([is_one_part(points, SIZE) for points in images]) < at_most


def test_an_annotated_half_passes():
    rng = np.random.default_rng(0)
    assert not is_one_part(rng.uniform(0, (500, 500), (200, 2)), SIZE)
    assert is_one_part(rng.uniform(0, (500, 250), (200, 2)), SIZE)
