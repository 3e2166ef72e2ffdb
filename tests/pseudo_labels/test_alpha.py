"""The four schedules of Table 3 and the blend."""

import pytest
import torch

from selfsam_d2.pseudo_labels.alpha import (
    ALPHA_SCHEDULES,
    alpha_schedule,
    blend_targets,
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
    assert torch.equal(blend_targets(base, adapted, 1.0), base)
    assert torch.equal(blend_targets(base, adapted, 0.0), adapted.detach())


def test_blend_refuses_other_shapes_and_weights():
    with pytest.raises(ValueError, match="one shape"):
        blend_targets(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2), 0.5)
    with pytest.raises(ValueError, match="alpha"):
        blend_targets(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), 1.5)
