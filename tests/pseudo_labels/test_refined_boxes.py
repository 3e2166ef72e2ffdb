"""Boxes of what a model sees, against loops written from the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from selfsam_d2.pseudo_labels.refined_boxes import SMALLEST_AREA, boxes_of_ids, refined_boxes

SEEDS = st.integers(0, 2**31 - 1)


def box_by_loop(ids, nucleus, fallback):
    pixels = [(y, x) for y in range(len(ids)) for x in range(len(ids[0])) if ids[y][x] == nucleus]
    if len(pixels) < SMALLEST_AREA:
        return fallback
    rows, columns = zip(*pixels, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 14), st.integers(4, 14), st.integers(0, 4), SEEDS)
def test_boxes_hold_each_nucleus_and_nothing_more(height, width, count, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, count + 1, (height, width), generator=generator)
    fallback = torch.rand(count, 4, generator=generator) * 100
    found = boxes_of_ids(ids, fallback).tolist()
    for index in range(count):
        wanted = box_by_loop(ids.tolist(), index + 1, fallback[index].tolist())
        assert found[index] == pytest.approx(wanted)


def refined_by_loop(points, context, adapted, foreground, fallback):
    """Cells, mean, division by the peak, the surest nucleus, its largest part, its box."""
    count, height, width = adapted.shape
    seen = np.zeros((count, height, width))
    for y in range(height):
        for x in range(width):
            distances = ((context - np.array([x + 0.5, y + 0.5])) ** 2).sum(axis=1)
            owner = int(distances.argmin())  # points come first in the context
            if owner < count:
                seen[owner, y, x] = 0.5 * (adapted[owner, y, x] + foreground[y, x])
    boxes = []
    for index in range(count):
        mine = seen[index] / max(0.1, seen[index].max()) > 0.5
        parts, number = ndimage.label(mine)
        sizes = [(parts == part).sum() for part in range(1, number + 1)]
        part = ndimage.binary_fill_holes(parts == 1 + int(np.argmax(sizes or [0])))
        if not sizes or part.sum() < SMALLEST_AREA:
            boxes.append(fallback[index])
            continue
        rows, columns = np.nonzero(part)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return np.array(boxes, dtype=float).reshape(-1, 4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2), SEEDS)
def test_boxes_are_those_of_the_definition(count, beyond, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (count, 2)) * [30, 24]
    context = np.concatenate([points, rng.uniform(30, 46, (beyond, 2))])
    smooth = ndimage.gaussian_filter(rng.random((count + 1, 24, 30)), (0, 2, 2))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    fallback = rng.uniform(0, 24, (count, 4))
    arguments = (points, context, smooth[:count], smooth[count], fallback)
    found = refined_boxes(*(torch.from_numpy(each) for each in arguments))
    np.testing.assert_allclose(found.numpy(), refined_by_loop(*arguments), atol=1e-6)


def test_a_nucleus_that_is_not_seen_keeps_the_box_of_its_spacing():
    points = torch.tensor([[6.0, 6.0], [20.0, 20.0]])
    adapted = torch.zeros(2, 26, 26)
    adapted[0, 3:9, 4:10] = 1.0
    fallback = torch.tensor([[0.0, 0.0, 12.0, 12.0], [14.0, 14.0, 26.0, 26.0]])
    boxes = refined_boxes(points, points, adapted, adapted[0], fallback)
    assert boxes.tolist() == [[4.0, 3.0, 10.0, 9.0], [14.0, 14.0, 26.0, 26.0]]


def test_a_nucleus_that_the_decoder_does_not_see_has_the_box_of_its_mask():
    points = torch.tensor([[7.0, 6.0]])
    mask = torch.zeros(1, 16, 16, requires_grad=True) + 0.0
    mask[0, 3:9, 4:10] = 0.4  # with B half of it, below the threshold
    boxes = refined_boxes(points, points, mask, torch.zeros(16, 16), torch.zeros(1, 4))
    assert boxes.tolist() == [[4.0, 3.0, 10.0, 9.0]]
    assert not boxes.requires_grad


@pytest.mark.parametrize(("mean", "is_seen"), [(0.045, False), (0.055, True)])
def test_what_is_hardly_seen_anywhere_is_not_raised_to_a_nucleus(mean, is_seen):
    points = torch.tensor([[7.0, 6.0]])
    mask = torch.zeros(1, 16, 16)
    mask[0, 3:9, 4:10] = mean
    fallback = torch.tensor([[1.0, 1.0, 13.0, 11.0]])
    (box,) = refined_boxes(points, points, mask, mask[0], fallback).tolist()
    assert box == ([4.0, 3.0, 10.0, 9.0] if is_seen else fallback[0].tolist())


def test_a_crop_without_points_has_no_boxes():
    none = torch.zeros(0, 2)
    context = torch.tensor([[-3.0, 5.0]])
    arguments = (torch.zeros(0, 8, 8), torch.zeros(8, 8), torch.zeros(0, 4))
    assert refined_boxes(none, context, *arguments).shape == (0, 4)
    assert refined_boxes(none, none, *arguments).shape == (0, 4)
