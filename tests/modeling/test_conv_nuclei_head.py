"""The convolutional nuclei head: on a pyramid, on one map, inside SelfSAM, and what is refused."""

from pathlib import Path

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model

from selfsam_d2.engine.setup import load_config
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.conv_nuclei_head import ConvNucleiHead
from selfsam_d2.modeling.nuclei_head import build_nuclei_head

CONFIGS = Path(__file__).parents[2] / "configs"
R50 = str(CONFIGS / "nuclei_head_R50_fpn.yaml")
SELFSAM = str(CONFIGS / "demo.yaml")
PYRAMID = {f"p{level}": ShapeSpec(channels=64, stride=2**level) for level in range(2, 7)}


def build(*pairs, shapes=None):
    return build_nuclei_head(load_config(R50, [*pairs]), shapes or PYRAMID)


def test_a_pyramid_becomes_three_maps_of_stride_4():
    head = build()
    features = {
        name: torch.rand(2, 64, 64 // shape.stride, 128 // shape.stride, requires_grad=True)
        for name, shape in PYRAMID.items()
    }
    maps = head(features)
    assert maps.shape == (2, 3, 16, 32)
    maps.square().sum().backward()
    read = {name for name, each in features.items() if each.grad is not None}
    assert read == {"p2", "p3", "p4", "p5"}


def test_one_map_will_do_by_itself():
    shapes = {"image_embedding": ShapeSpec(channels=32, stride=16)}
    head = build("MODEL.NUCLEI_HEAD.IN_FEATURES", "()", shapes=shapes)
    embedding = torch.rand(1, 32, 4, 6)
    assert head(embedding).shape == (1, 3, 16, 24)
    assert torch.equal(head(embedding), head({"image_embedding": embedding}))


def test_a_pyramid_cannot_be_given_as_one_map():
    with pytest.raises(ValueError, match="too many values"):
        build()(torch.rand(1, 64, 4, 4))


def test_selfsam_takes_it_too(make_crop):
    keys = (
        *("MODEL.SAM.INPUT_SIDE", "64", "INPUT.NUCLEI.CROP", "32", "INFERENCE.WINDOW", "32"),
        *("INFERENCE.OVERLAP", "8", "MODEL.NUCLEI_HEAD.NAME", "ConvNucleiHead"),
        # The random decoder of a test draws no confident mask.
        *("PSEUDO_LABEL.ENTROPY_THRESHOLD", "100", "PSEUDO_LABEL.MASK_THRESHOLD", "0.3"),
    )
    model = build_model(load_config(SELFSAM, [*keys]))
    model.consensus = False
    assert isinstance(model.nuclei_head, ConvNucleiHead)
    sum(model.train()([make_crop(5)]).values()).backward()
    weight = model.nuclei_head.pyramid.predictor.weight
    assert bool((weight.grad != 0).any())
    with torch.no_grad():
        found = model.eval()([{"image": (torch.rand(3, 50, 40) * 255).byte()}])[0]
    assert found["instance_map"].shape == (50, 40)


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"IN_FEATURES 'p9': .*no such map; it gives p2, p3"):
        build("MODEL.NUCLEI_HEAD.IN_FEATURES", "('p2', 'p9')")
    with pytest.raises(InputError, match=r"CONV_DIM 40: expected a multiple of 32"):
        build("MODEL.NUCLEI_HEAD.CONV_DIM", "40")
    with pytest.raises(InputError, match=r"'SAMNucleiHead': reads one map .*use ConvNucleiHead"):
        build("MODEL.NUCLEI_HEAD.NAME", "SAMNucleiHead")


def test_it_begins_near_zero():
    torch.manual_seed(0)
    features = {
        name: torch.randn(1, 64, 128 // shape.stride, 128 // shape.stride) * 3
        for name, shape in PYRAMID.items()
    }
    maps = build()(features)
    assert 0 < maps.abs().max() < 1.5
