"""L_P and L_B against loops written from their definitions."""

import math

import pytest
import torch

from selfsam_d2.losses import masks
from selfsam_d2.losses.masks import foreground_loss, iou_loss, prompt_loss


def pixel_loop(logits: list[float], targets: list[float]) -> float:
    """BCE (mean) + IoU of one map, pixel by pixel."""
    cross_entropy = product = union = 0.0
    for logit, target in zip(logits, targets, strict=True):
        p = 1 / (1 + math.exp(-logit))
        cross_entropy -= target * math.log(p) + (1 - target) * math.log(1 - p)
        product += p * target
        union += p + target - p * target
    return cross_entropy / len(logits) + 1 - (product + 1e-6) / (union + 1e-6)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 4, (5, 6), generator=generator)  # nucleus 4 has no pixel
    return logits, labels


@pytest.mark.parametrize("keep_empty", [False, True])
def test_prompt_loss_agrees_with_the_loop(case, keep_empty):
    logits, labels = case
    kept = [(r, c) for r in range(5) for c in range(6) if labels[r, c] != -1]
    terms = []
    for k in range(4):
        targets = [float(labels[r, c] == k + 1) for r, c in kept]
        if any(targets) or keep_empty:
            terms.append(pixel_loop([float(logits[k, r, c]) for r, c in kept], targets))
    assert len(terms) == (4 if keep_empty else 3)
    found = prompt_loss(logits, labels, keep_empty=keep_empty)
    assert found.item() == pytest.approx(sum(terms) / len(terms), abs=1e-12)


def test_foreground_loss_agrees_with_the_loop(case):
    logits, labels = case
    kept = [(r, c) for r in range(5) for c in range(6) if labels[r, c] != -1]
    expected = pixel_loop(
        [float(logits[0, r, c]) for r, c in kept], [float(labels[r, c] > 0) for r, c in kept]
    )
    assert foreground_loss(logits[0], labels).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", [prompt_loss, lambda x, y: foreground_loss(x[0], y)])
def test_ignored_pixels_get_no_gradient(case, loss):
    logits, labels = case
    logits.requires_grad_()
    loss(logits, labels).backward()
    assert (logits.grad[:, labels == -1] == 0).all()
    assert (logits.grad[0, labels != -1] != 0).all()


def test_nothing_to_act_on_is_a_zero_that_keeps_the_graph():
    logits = torch.randn(2, 3, 3, requires_grad=True)
    everything = torch.full((3, 3), -1)
    for loss in (
        prompt_loss(logits, everything),
        prompt_loss(logits, torch.zeros(3, 3, dtype=torch.long)),
        prompt_loss(logits[:0], everything),
        foreground_loss(logits[0], everything),
    ):
        assert loss.item() == 0
        loss.backward()
    assert (logits.grad == 0).all()


def test_iou_loss_is_zero_for_equal_masks_and_one_for_disjoint_ones():
    mask = torch.tensor([0.0, 1.0, 1.0])
    assert iou_loss(mask, mask).item() == pytest.approx(0)
    assert iou_loss(mask, 1 - mask).item() == pytest.approx(1, abs=1e-5)


def test_losses_have_the_right_gradient(case):
    logits, labels = case
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prompt_loss(x, labels), (logits,))
    assert torch.autograd.gradcheck(lambda x: foreground_loss(x[0], labels), (logits,))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="labels"):
        prompt_loss(torch.zeros(1, 3, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="labels"):
        foreground_loss(torch.zeros(3, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("keep_empty", [False, True])
def test_many_nuclei_are_worked_on_in_parts(case, monkeypatch, keep_empty):
    logits, labels = case
    logits.requires_grad_()
    expected = prompt_loss(logits, labels, keep_empty=keep_empty)
    (wanted,) = torch.autograd.grad(expected, logits)
    sizes = []
    original = masks._nucleus_losses

    def spy(logits, *others):
        sizes.append(len(logits))
        return original(logits, *others)

    monkeypatch.setattr(masks, "_nucleus_losses", spy)
    monkeypatch.setattr(masks, "CHUNK", 3 * int((labels != -1).sum()))
    found = prompt_loss(logits, labels, keep_empty=keep_empty)
    assert sizes == [3, 1]
    (got,) = torch.autograd.grad(found, logits)
    # Computed again for the gradient, not kept.
    assert sorted(sizes) == [1, 1, 3, 3]
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(got, wanted, rtol=1e-12, atol=0)
