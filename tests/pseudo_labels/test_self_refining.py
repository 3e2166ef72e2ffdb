"""The label maker hands its settings on: each argument changes what it is there for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from selfsam_d2.pseudo_labels.alpha import blend_targets
from selfsam_d2.pseudo_labels.instance_label import make_instance_label
from selfsam_d2.pseudo_labels.limits import domain_limits
from selfsam_d2.pseudo_labels.prompt_label import make_prompt_label
from selfsam_d2.pseudo_labels.self_refining import SelfRefiningLabels
from selfsam_d2.pseudo_labels.stain import add_stain_prior

SIZE = (18, 16)
POINTS = torch.tensor([[4.0, 5.0], [11.0, 12.0]])


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


BASE, ADAPTED, FOREGROUND = random(0, 2, *SIZE), random(1, 2, *SIZE), random(2, *SIZE)
IMAGE = (random(3, 3, *SIZE) * 255).to(torch.uint8)


def blended(maker: SelfRefiningLabels, **given: Any) -> Tensor:
    arguments = {"base": BASE, "adapted": ADAPTED, "alpha": 0.25, **given}
    return maker.blend(IMAGE, POINTS, POINTS, **arguments)


def test_both_masks_are_blended() -> None:
    assert torch.equal(blended(SelfRefiningLabels()), blend_targets(BASE, ADAPTED, 0.25))


def test_masks_that_are_not_given_are_those_that_are() -> None:
    maker = SelfRefiningLabels()
    assert torch.equal(blended(maker, adapted=None), BASE)
    assert torch.equal(blended(maker, base=None), ADAPTED)
    with pytest.raises(ValueError, match=r"^Expected arguments `base` or `adapted`, but got neit"):
        blended(maker, base=None, adapted=None)


def test_the_stain_joins_the_base_masks_within_the_cells() -> None:
    cells = domain_limits(POINTS, POINTS, SIZE, voronoi=True)
    assert cells is not None
    stained = add_stain_prior(BASE, IMAGE, cells, 0.5)
    expected = blend_targets(stained, ADAPTED, 0.25) * cells
    maker = SelfRefiningLabels(voronoi=True, stain_weight=0.5)
    assert torch.allclose(blended(maker), expected)
    assert torch.equal(blended(maker, base=None), ADAPTED * cells)  # adapted masks have none
    assert torch.allclose(
        blended(SelfRefiningLabels(voronoi=True)), blend_targets(BASE, ADAPTED, 0.25) * cells
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"entropy_threshold": 0.5},
        {"mask_threshold": 0.4},
        {"entropy_reduction": "max"},
        {"one_part": True},
    ],
    ids=lambda each: next(iter(each)),
)
def test_settings_of_the_prompt_label_act(settings: dict[str, Any]) -> None:
    given = {"base": BASE, "adapted": ADAPTED, "alpha": 0.25}
    label = SelfRefiningLabels(**settings).prompt_label(IMAGE, POINTS, POINTS, **given)
    plain = make_prompt_label(blend_targets(BASE, ADAPTED, 0.25))
    expected = make_prompt_label(blend_targets(BASE, ADAPTED, 0.25), **settings)
    found, stated, unset = (
        torch.stack([each.labels, each.raw_ids]) for each in (label, expected, plain)
    )
    assert torch.equal(found, stated)
    assert not torch.equal(found, unset)


@pytest.mark.parametrize(
    "settings",
    [
        {"entropy_threshold": 0.6},
        {"mask_threshold": 0.4},
        {"agree_foreground": 0.9},
        {"agree_background": 0.1},
        {"agree_background_mask": 0.9},
    ],
    ids=lambda each: next(iter(each)),
)
def test_settings_of_the_instance_label_act(settings: dict[str, Any]) -> None:
    prompt = make_prompt_label(torch.minimum(BASE, 1 - BASE.flip(0)), entropy_threshold=0.6)
    found = SelfRefiningLabels(**settings).instance_label(prompt, FOREGROUND)
    assert torch.equal(found.labels, make_instance_label(prompt, FOREGROUND, **settings).labels)
    assert not torch.equal(found.labels, make_instance_label(prompt, FOREGROUND).labels)
    assert torch.equal(
        SelfRefiningLabels(**settings).instance_label(prompt, FOREGROUND, consensus=False).labels,
        prompt.labels,
    )
