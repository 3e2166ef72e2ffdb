"""S_P and S_I against a per-pixel loop written from the formulas of the method."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.pseudo_labels.instance_label import make_instance_label
from selfsam_d2.pseudo_labels.prompt_label import make_prompt_label, prompt_entropy

# Values on and beside every threshold of the rules, where a wrong comparison shows.
EDGES = (0.0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.45, 0.5, 0.55, 0.7, 0.75, 0.9, 0.97, 1.0)


def pixel_rules(values: list[float], foreground: float) -> tuple[int, int, bool]:
    """(S_P, S_I, recovered) of one pixel, from METHOD's rules 2 and 4 and nothing else."""
    entropy = -sum(v * math.log(v) for v in values if v > 0)
    overlap = sum(v > 0.5 for v in values)
    largest = max(values, default=0.0)
    raw = 1 + values.index(largest) if largest > 0.5 else 0
    prompt_ignored = entropy > 0.3 or overlap >= 2
    prompt = -1 if prompt_ignored else raw
    agreed_foreground = largest > 0.5 and foreground > 0.7 and overlap < 2
    agreed_background = largest < 0.2 and foreground < 0.3
    base = entropy > 0.3 or (largest > 0.5) != (foreground > 0.5)
    ignored = (base or overlap >= 2) and not (agreed_foreground or agreed_background)
    instance = -1 if ignored else (0 if agreed_background else raw)
    return prompt, instance, prompt_ignored and not ignored


@st.composite
def crops(draw):
    count = draw(st.integers(0, 4))
    pixel = st.lists(st.sampled_from(EDGES), min_size=count, max_size=count)
    pixels = draw(st.lists(pixel, min_size=12, max_size=12))
    foreground = draw(st.lists(st.sampled_from(EDGES), min_size=12, max_size=12))
    targets = torch.tensor(pixels, dtype=torch.float64).T.reshape(count, 3, 4)
    return targets, torch.tensor(foreground, dtype=torch.float64).reshape(3, 4)


@settings(max_examples=300, deadline=None)
@given(crops())
def test_labels_agree_with_the_pixel_loop(crop):
    targets, foreground = crop
    prompt = make_prompt_label(targets)
    instance = make_instance_label(prompt, foreground)
    for row in range(3):
        for column in range(4):
            expected = pixel_rules(targets[:, row, column].tolist(), float(foreground[row, column]))
            found = (
                int(prompt.labels[row, column]),
                int(instance.labels[row, column]),
                bool(instance.recovered[row, column]),
            )
            assert found == expected


@settings(max_examples=50, deadline=None)
@given(crops())
def test_ignore_masks_travel_with_the_labels(crop):
    targets, foreground = crop
    prompt = make_prompt_label(targets)
    instance = make_instance_label(prompt, foreground)
    assert torch.equal(prompt.labels == -1, prompt.ignore_mask)
    assert torch.equal(instance.labels == -1, instance.ignore_mask)


def test_ties_go_to_the_lower_index():
    targets = torch.zeros(3, 1, 1)
    targets[1:] = 0.9
    assert make_prompt_label(targets).raw_ids.item() == 2


def test_no_points_leaves_the_decision_to_the_decoder():
    prompt = make_prompt_label(torch.zeros(0, 1, 3))
    assert prompt.labels.tolist() == [[0, 0, 0]]
    instance = make_instance_label(prompt, torch.tensor([[0.1, 0.4, 0.9]]))
    assert instance.labels.tolist() == [[0, 0, -1]]


def test_entropy_may_be_the_largest_of_the_nuclei():
    targets = torch.tensor([0.2, 0.9]).reshape(2, 1, 1)
    single = [-value * math.log(value) for value in (0.2, 0.9)]
    assert prompt_entropy(targets).item() == pytest.approx(sum(single), rel=1e-6)
    assert prompt_entropy(targets, "max").item() == pytest.approx(max(single), rel=1e-6)
    with pytest.raises(ValueError, match="mean"):
        prompt_entropy(targets, "mean")


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="targets"):
        make_prompt_label(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="foreground"):
        make_instance_label(make_prompt_label(torch.zeros(1, 3, 3)), torch.zeros(2, 3))


def test_the_instance_label_has_no_gradient():
    foreground = torch.rand(3, 3, requires_grad=True)
    label = make_instance_label(make_prompt_label(torch.rand(2, 3, 3)), foreground)
    assert not label.labels.requires_grad
