"""The four schedules of Table 3 and the blend."""

import pytest
import torch

from selfsam_d2.pseudo_labels.alpha import (
    ALPHA_SCHEDULES,
    alpha_schedule,
    blend_targets,
    join_decoder,
)


def test_linear_falls_from_one_and_never_below_zero():
    assert [alpha_schedule(t, 4) for t in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_exponential_halves():
    assert [alpha_schedule(t, 9, name="exponential") for t in range(4)] == [1, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("epochs", "expected"), [(4, [1, 1, 0, 0]), (5, [1, 1, 1, 0, 0]), (1, [1])]
)
def test_step_drops_at_half_time(epochs, expected):
    assert [alpha_schedule(t, epochs, name="step") for t in range(epochs)] == expected


def test_constant_and_static():
    assert {alpha_schedule(t, 9, name="constant") for t in range(9)} == {0.5}
    assert {alpha_schedule(t, 9, name="static") for t in range(9)} == {1.0}


@pytest.mark.parametrize("name", ALPHA_SCHEDULES)
def test_alpha_stays_in_range(name):
    assert all(0 <= alpha_schedule(t, 20, name=name) <= 1 for t in range(20))


@pytest.mark.parametrize("arguments", [(0, 0), (-1, 3)])
def test_bad_epochs_are_refused(arguments):
    with pytest.raises(ValueError, match="epoch"):
        alpha_schedule(*arguments)


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="cosine"):
        alpha_schedule(0, 1, name="cosine")


def test_blend_is_weighted_and_detached():
    base = torch.full((2, 3, 3), 0.8)
    adapted = torch.full((2, 3, 3), 0.4, requires_grad=True)
    blended = blend_targets(base, adapted, 0.25)
    assert torch.allclose(blended, torch.full((2, 3, 3), 0.25 * 0.8 + 0.75 * 0.4))
    assert not blended.requires_grad


def test_blend_refuses_other_shapes_and_weights():
    with pytest.raises(ValueError, match="one shape"):
        blend_targets(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2), 0.5)
    with pytest.raises(ValueError, match="alpha"):
        blend_targets(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), 1.5)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_the_decoder_joins_in_each_cell_as_a_loop_says(weight, scale):
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(3, 4, 5, generator=generator) * scale
    foreground = torch.rand(4, 5, generator=generator) * scale
    owner = torch.randint(0, 4, (4, 5), generator=generator)  # 3: of no point in the crop
    cells = torch.stack([owner == k for k in range(3)])
    joined = join_decoder(targets * cells, foreground, cells, weight)
    for k in range(3):
        values = {}
        for row in range(4):
            for column in range(5):
                inside = int(owner[row, column]) == k
                mask, decoder = float(targets[k, row, column]), float(foreground[row, column])
                values[row, column] = (1 - weight) * mask + weight * decoder if inside else 0
        peak = max(0.1, *values.values())
        for (row, column), value in values.items():
            assert float(joined[k, row, column]) == pytest.approx(value / peak, abs=1e-6)


def test_no_nucleus_vanishes_that_the_decoder_does_not_see():
    masks = torch.zeros(2, 4, 4)
    masks[0, :2, :2], masks[1, 2:, 2:] = 0.9, 0.7
    cells = masks > 0
    joined = join_decoder(masks, torch.zeros(4, 4), cells, 0.5)
    assert torch.equal(joined > 0.5, cells)
    assert join_decoder(masks[:0], torch.zeros(4, 4), cells[:0], 0.5).shape == (0, 4, 4)


def test_the_decoder_joins_without_a_gradient():
    targets = torch.rand(1, 2, 2, requires_grad=True)
    foreground = torch.rand(2, 2, requires_grad=True)
    joined = join_decoder(targets, foreground, torch.ones(1, 2, 2, dtype=torch.bool), 0.5)
    assert not joined.requires_grad


def test_the_decoder_refuses_other_shapes_and_weights():
    masks, cells = torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="foreground"):
        join_decoder(masks, torch.zeros(2, 3), cells, 0.5)
    with pytest.raises(ValueError, match="cells"):
        join_decoder(masks, torch.zeros(2, 2), cells.expand(2, -1, -1), 0.5)
    with pytest.raises(ValueError, match="weight"):
        join_decoder(masks, torch.zeros(2, 2), cells, -0.1)
