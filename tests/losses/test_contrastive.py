"""L_C against a loop, and the draw of hard background."""

import math

import pytest
import torch

from selfsam_d2.losses.contrastive import (
    draw_hard_background,
    instance_contrastive_loss,
    read_at_points,
)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def test_loss_agrees_with_the_loop():
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    negatives = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    prototype = torch.randn(5, generator=generator, dtype=torch.float64)
    total = 0.0
    for q in anchors.tolist():
        positive = math.exp(cosine(q, prototype.tolist()) / 0.1)
        others = sum(math.exp(cosine(q, n) / 0.1) for n in negatives.tolist())
        total -= math.log(positive / (positive + others))
    found = instance_contrastive_loss(anchors, negatives, prototype)
    assert found.item() == pytest.approx(total / 3, abs=1e-12)


def test_loss_has_the_right_gradient():
    inputs = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 4), (3, 4), (4,))
    ]
    assert torch.autograd.gradcheck(
        lambda a, n, p: instance_contrastive_loss(a, n, p, temperature=0.5), inputs
    )


@pytest.mark.parametrize(("anchors", "negatives"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_contrast_is_a_zero_that_keeps_the_graph(anchors, negatives):
    prototype = torch.randn(4, requires_grad=True)
    loss = instance_contrastive_loss(torch.randn(anchors, 4), torch.randn(negatives, 4), prototype)
    assert loss.item() == 0
    loss.backward()
    assert (prototype.grad == 0).all()


def test_feature_sizes_are_checked():
    with pytest.raises(ValueError, match="feature size"):
        instance_contrastive_loss(torch.zeros(1, 4), torch.zeros(1, 3), torch.zeros(4))


def test_hard_background_is_confident_foreground_on_labelled_background():
    foreground = torch.tensor([[0.9, 0.9, 0.9, 0.7], [0.1, 0.8, 0.95, 0.71]])
    labels = torch.tensor([[0, 1, -1, 0], [0, 0, 2, 0]])
    found = draw_hard_background(foreground, labels, seed=[0])
    assert sorted(map(tuple, found.tolist())) == [(0.5, 0.5), (1.5, 1.5), (3.5, 1.5)]


def test_the_draw_is_limited_and_fixed_by_its_seed():
    foreground, labels = torch.ones(20, 20), torch.zeros(20, 20, dtype=torch.long)
    first = draw_hard_background(foreground, labels, count=50, seed=[1, 2, 3])
    assert len({tuple(each) for each in first.tolist()}) == 50
    assert torch.equal(first, draw_hard_background(foreground, labels, count=50, seed=[1, 2, 3]))
    other = draw_hard_background(foreground, labels, count=50, seed=[1, 2, 4])
    assert not torch.equal(first, other)


def test_reading_at_pixel_centres_gives_the_pixels():
    features = torch.arange(12, dtype=torch.float32).reshape(1, 3, 4)
    points = torch.tensor([[0.5, 0.5], [3.5, 2.5], [1.0, 0.5]])
    found = read_at_points(features, points, (3, 4))[:, 0].tolist()
    assert found == pytest.approx([0, 11, 0.5], abs=1e-5)


def test_reading_a_coarse_map_uses_the_frame_of_the_crop():
    # A map of half the size: its first pixel is centred on (1, 1) of the crop.
    features = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    points = torch.tensor([[1.0, 1.0], [3.0, 3.0], [2.0, 1.0]])
    found = read_at_points(features, points, (4, 4))[:, 0].tolist()
    assert found == pytest.approx([0, 3, 0.5], abs=1e-5)
