"""What holds for the labels of every label maker, whatever the masks: properties, no formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selfsam_d2.pseudo_labels.registry import LabelMaker
from selfsam_d2.pseudo_labels.self_refining import SelfRefiningLabels, StaticSAMLabels
from selfsam_d2.pseudo_labels.voronoi_cluster import VoronoiClusterLabels
from selfsam_d2.structures.labels import IGNORE

SIZE = (20, 24)
MAKERS: dict[str, LabelMaker] = {
    "paper": SelfRefiningLabels(),
    "limited": SelfRefiningLabels(voronoi=True, max_radius=0.9),
    "vitt configs": SelfRefiningLabels(
        voronoi=True, stain_weight=0.5, one_part=True, entropy_threshold=0.37, consensus=False
    ),
    "stain and consensus": SelfRefiningLabels(voronoi=True, stain_weight=0.5, one_part=True),
    "static": StaticSAMLabels(consensus=False),
    "Voronoi": VoronoiClusterLabels(),
}
Crop = dict[str, Any]


@st.composite
def crops(draw: Any, at_least: int = 0) -> Crop:
    """Points on different pixels, smooth masks around them, an image with stained nuclei."""
    height, width = SIZE
    pixels = st.tuples(st.integers(1, width - 2), st.integers(1, height - 2))
    places = draw(st.lists(pixels, min_size=at_least, max_size=5, unique=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    points = torch.tensor(places, dtype=torch.float32).reshape(-1, 2) + 0.5
    columns, rows = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    distance = torch.hypot(
        columns[None, None] - points[:, 0, None, None],
        rows[None, :, None] - points[:, 1, None, None],
    )

    def masks() -> Tensor:
        radius = 2 + 5 * torch.rand(len(points), 1, 1, generator=generator)
        noise = torch.randn(len(points), *SIZE, generator=generator)
        return torch.sigmoid(radius - distance + noise)

    base, adapted = masks(), masks()
    inside = base.amax(dim=0) > 0.5 if len(points) else torch.zeros(SIZE, dtype=torch.bool)
    image = torch.randint(170, 230, (3, *SIZE), generator=generator)
    image[:, inside] -= torch.tensor([[90], [120], [60]])
    return {
        "points": points,
        "base": base,
        "adapted": adapted,
        "image": image.to(torch.uint8),
        "foreground": torch.rand(SIZE, generator=generator),
        "alpha": draw(st.sampled_from([0.0, 0.3, 1.0])),
    }


def labels_of(maker: LabelMaker, crop: Crop) -> Any:
    alpha = crop["alpha"] if maker.fixed_alpha is None else maker.fixed_alpha
    prompt = maker.prompt_label(
        crop["image"], crop["points"], crop["points"],
        base=crop["base"], adapted=crop["adapted"], alpha=alpha,
    )  # fmt: skip
    return prompt, maker.instance_label(prompt, crop["foreground"])


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=25, deadline=None)
@given(crop=crops())
def test_labels_part_the_crop(name: str, crop: Crop) -> None:
    """Each pixel is background, one nucleus of the K, or ignored; and nothing else."""
    prompt, instance = labels_of(MAKERS[name], crop)
    count = len(crop["points"])
    for label in (prompt, instance):
        assert label.labels.shape == SIZE
        assert label.labels.dtype == torch.int64
        parts = [label.labels == value for value in (IGNORE, *range(count + 1))]
        assert torch.stack(parts).sum(dim=0).eq(1).all()
        assert torch.equal(label.ignore_mask, label.labels == IGNORE)


@pytest.mark.parametrize("name", ["paper", "limited", "stain and consensus"])
@settings(max_examples=40, deadline=None)
@given(crop=crops(at_least=1))
def test_recovered_pixels_never_contradict_both_branches(name: str, crop: Crop) -> None:
    """A pixel that comes back is what the masks say and what B says, never against both."""
    maker = MAKERS[name]
    prompt, instance = labels_of(maker, crop)
    back = instance.recovered
    assert not (back & ~prompt.ignore_mask).any()
    assert not (back & instance.ignore_mask).any()
    nucleus, background = back & (instance.labels > 0), back & (instance.labels == 0)
    assert not (nucleus & (prompt.confidence <= 0.5)).any()
    assert not (nucleus & (crop["foreground"] <= 0.5)).any()
    # A background that comes back: no mask claims it, or (one part) the part it was in is gone.
    claimed = prompt.confidence > 0.5
    if name != "stain and consensus":
        assert not (background & claimed).any()
        assert not (background & (crop["foreground"] > 0.5)).any()
    assert not (background & claimed & (prompt.raw_ids > 0)).any()


@pytest.mark.parametrize("turn", ["x", "y", "transpose"])
@pytest.mark.parametrize("name", [name for name in MAKERS if name != "Voronoi"])
# Not random: of parts of one size the upper one stays, which a flip may turn over.
@settings(max_examples=20, deadline=None, derandomize=True)
@given(crop=crops(at_least=1))
def test_flips_commute_with_the_labels(name: str, turn: str, crop: Crop) -> None:
    """Labels of a flipped crop are the flipped labels; k-means of Voronoi labels draws by order."""
    height, width = SIZE
    flip = {
        "x": lambda values: values.flip(-1),
        "y": lambda values: values.flip(-2),
        "transpose": lambda values: values.transpose(-1, -2).contiguous(),
    }[turn]
    x, y = crop["points"].unbind(dim=1)
    moved = {"x": (width - x, y), "y": (x, height - y), "transpose": (y, x)}[turn]
    turned = {
        **{key: flip(crop[key]) for key in ("base", "adapted", "image", "foreground")},
        "points": torch.stack(moved, dim=1),
        "alpha": crop["alpha"],
    }
    for found, expected in zip(
        labels_of(MAKERS[name], turned), labels_of(MAKERS[name], crop), strict=True
    ):
        assert torch.equal(found.labels, flip(expected.labels))
