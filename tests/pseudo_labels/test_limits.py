"""Limits of the domain of a mask, against loops written from their definitions."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.pseudo_labels.limits import domain_limits

SIZE = (10, 14)
positions = st.lists(
    st.tuples(st.integers(-8, 36), st.integers(-8, 28)), min_size=1, max_size=7, unique=True
)


def split(found):
    context = torch.tensor(found, dtype=torch.float32) / 2 + 0.25
    inside = ((context >= 0) & (context < torch.tensor([14.0, 10.0]))).all(dim=1)
    return context[inside], context


@settings(max_examples=50, deadline=None)
@given(positions, st.sampled_from([0.0, 0.6, 1.5]), st.booleans())
def test_limits_agree_with_a_loop(found, max_radius, voronoi):
    points, context = split(found)
    limits = domain_limits(points, context, SIZE, voronoi=voronoi, max_radius=max_radius)
    if not voronoi and not max_radius:
        assert limits is None
        return
    everything = context.double().numpy()
    nearest = [
        min((np.linalg.norm(p - q) for j, q in enumerate(everything) if j != i), default=np.inf)
        for i, p in enumerate(everything)
    ]
    median = sorted(nearest)[(len(nearest) - 1) // 2]
    for k, point in enumerate(points.double().numpy()):
        for row in range(SIZE[0]):
            for column in range(SIZE[1]):
                pixel = np.array([column + 0.5, row + 0.5])
                own = np.linalg.norm(pixel - point)
                others = [
                    np.linalg.norm(pixel - other) for other in everything if (other != point).any()
                ]
                margin = abs(own - max_radius * median) if np.isfinite(median) else 1
                gap = min((abs(own - d) for d in others), default=1)
                if margin < 1e-4 or gap < 1e-4:
                    continue  # a tie, which voronoi_cells has a test of its own for
                expected = not voronoi or own < min(others, default=np.inf)
                if max_radius and np.isfinite(median):
                    expected = expected and own <= max_radius * median
                assert bool(limits[k, row, column]) == expected


def test_a_stain_mask_limits_every_nucleus():
    stain = torch.zeros(SIZE, dtype=torch.bool)
    stain[2:5] = True
    points = torch.tensor([[2.0, 3.0], [9.0, 8.0]])
    limits = domain_limits(points, points, SIZE, stain_mask=stain)
    assert torch.equal(limits, stain.expand(2, -1, -1))
    both = domain_limits(points, points, SIZE, voronoi=True, stain_mask=stain)
    assert torch.equal(both.any(dim=0), stain)
    assert not (both[0] & both[1]).any()


def test_no_points_inside_give_no_domains():
    limits = domain_limits(torch.zeros(0, 2), torch.tensor([[50.0, 50.0]]), SIZE, voronoi=True)
    assert limits.shape == (0, *SIZE)
