"""The point map and its loss, against loops written from their equations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.losses.points import point_map, point_map_loss

SIZE = (9, 12)
positions = st.lists(
    st.tuples(st.floats(-20, 30, width=32), st.floats(-20, 30, width=32)), max_size=6
)


@settings(max_examples=60, deadline=None)
@given(positions, st.sampled_from([0.7, 1.5, 2.5]))
def test_the_map_is_the_largest_gaussian(found, sigma):
    points = torch.tensor(found, dtype=torch.float32).reshape(-1, 2)
    result = point_map(points, SIZE, sigma)
    assert result.shape == SIZE
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            squared = [
                (column + 0.5 - math.floor(x) - 0.5) ** 2 + (row + 0.5 - math.floor(y) - 0.5) ** 2
                for x, y in points.tolist()
            ]
            best = min(squared, default=math.inf)
            expected = math.exp(-best / (2 * sigma**2))
            if abs(math.sqrt(best) / sigma - 4) < 1e-3:
                continue  # on the edge of its reach
            if math.sqrt(best) > 4 * sigma:
                expected = 0.0
            assert result[row, column].item() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(positions, st.integers(0, 2**31 - 1))
def test_the_loss_is_the_sum_over_pixels_by_points(found, seed):
    generator = torch.Generator().manual_seed(seed)
    target = point_map(torch.tensor(found, dtype=torch.float32).reshape(-1, 2), SIZE, 1.5)
    logits = 3 * torch.randn(SIZE, generator=generator)
    ignored = torch.rand(SIZE, generator=generator) < 0.2
    total, count = 0.0, 0
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            if ignored[row, column]:
                continue
            p = 1 / (1 + math.exp(-logits[row, column].item()))
            t = target[row, column].item()
            if t == 1:
                total -= (1 - p) ** 2 * math.log(p)
                count += 1
            else:
                total -= (1 - t) ** 4 * p**2 * math.log(1 - p)
    result = point_map_loss(logits, target, ignored)
    assert result.item() == pytest.approx(total / max(count, 1), rel=1e-4, abs=1e-6)


def test_extreme_logits_and_no_pixel_stay_finite():
    target = point_map(torch.tensor([[4.0, 4.0]]), SIZE, 1.5)
    nothing = torch.zeros(SIZE, dtype=torch.bool)
    for value in (-1e4, 1e4):
        logits = torch.full(SIZE, value, requires_grad=True)
        loss = point_map_loss(logits, target, nothing)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()
    logits = torch.zeros(SIZE, requires_grad=True)
    loss = point_map_loss(logits, target, ~nothing)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_the_gradient_is_right():
    generator = torch.Generator().manual_seed(0)
    target = point_map(torch.tensor([[1.0, 2.0]]), (3, 4), 1.0)
    kept = torch.zeros(3, 4, dtype=torch.bool)
    logits = torch.randn(3, 4, generator=generator, requires_grad=True)
    point_map_loss(logits, target, kept).backward()
    step = 1e-2
    for place in ((2, 1), (0, 0), (1, 2)):
        moved = torch.zeros(3, 4)
        moved[place] = step
        high, low = (
            point_map_loss(logits.detach() + sign * moved, target, kept) for sign in (1, -1)
        )
        assert logits.grad[place].item() == pytest.approx(
            (high - low).item() / (2 * step), rel=2e-2, abs=1e-4
        )


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"one shape, but got \(9, 12\), \(3, 4\)"):
        point_map_loss(torch.zeros(SIZE), torch.zeros(3, 4), torch.zeros(SIZE, dtype=torch.bool))
