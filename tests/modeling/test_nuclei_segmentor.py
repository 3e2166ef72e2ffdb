"""A nuclei head on a stock backbone: its losses are L_B and L_D, its prediction is ours."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone

from selfsam_d2.losses.hv import hv_map, hv_map_loss
from selfsam_d2.losses.masks import foreground_loss
from selfsam_d2.modeling.conv_nuclei_head import ConvNucleiHead
from selfsam_d2.modeling.inference import NucleiInference
from selfsam_d2.modeling.nuclei_segmentor import NucleiSegmentor
from selfsam_d2.structures.labels import IGNORE

CROP, SIDE = 32, 64


class Patches(Backbone):
    """One map of stride 4 from one convolution."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 32, kernel_size=4, stride=4)
        self._out_features = ["map"]
        self._out_feature_strides = {"map": 4}
        self._out_feature_channels = {"map": 32}

    def forward(self, images):
        assert images.shape[-2:] == (SIDE, SIDE)
        return {"map": self.convolution(images)}


class PerfectHead(torch.nn.Module):
    """Answers with fixed maps, whatever it is given."""

    def __init__(self, maps):
        super().__init__()
        self.maps = torch.nn.Parameter(maps)

    def forward(self, features):
        return self.maps.expand(len(features), -1, -1, -1)


def build(weights=(1.0, 5.0), head=None):
    torch.manual_seed(0)
    return NucleiSegmentor(
        backbone=Patches(),
        nuclei_head=head
        or ConvNucleiHead({"map": ShapeSpec(channels=32, stride=4)}, conv_dim=32, norm="GN"),
        inference=NucleiInference(window=CROP, overlap=8, crop=CROP, input_side=SIDE),
        loss_weights=dict(zip(("loss_foreground", "loss_distance"), weights, strict=True)),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )


def label():
    ids = torch.zeros(CROP, CROP, dtype=torch.int64)
    ids[4:14, 4:16], ids[16:28, 14:26], ids[:3] = 1, 2, IGNORE
    return ids


def sample(labels, seed=0):
    image = torch.rand(3, CROP, CROP, generator=torch.Generator().manual_seed(seed)) * 255
    return {"image": image.byte(), "instance_label": labels}


def test_losses_are_those_of_the_paper_on_the_crop():
    maps = torch.randn(1, 3, CROP, CROP)
    model = build(head=PerfectHead(maps)).train()
    losses = model([sample(label()), sample(torch.zeros_like(label()), seed=1)])
    expected = {"loss_foreground": 0.0, "loss_distance": 0.0}
    for each in (label(), torch.zeros_like(label())):
        expected["loss_foreground"] += foreground_loss(maps[0, 0], each) / 2
        distance = hv_map_loss(maps[0, 1:], hv_map(each), each > 0, each == IGNORE)
        expected["loss_distance"] += 5 * distance / 2
    assert set(losses) == set(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5)


def test_a_term_of_weight_0_is_a_zero_that_keeps_the_graph():
    model = build(weights=(0.0, 0.0)).train()
    total = sum(model([sample(label())]).values())
    assert total == 0
    total.backward()
    assert all(each.grad is not None for each in model.parameters())


def test_gradients_reach_backbone_and_head():
    model = build().train()
    sum(model([sample(label())]).values()).backward()
    assert all(bool((each.grad != 0).any()) for each in model.parameters())


def test_perfect_maps_give_the_nuclei_back():
    truth = label().clamp(min=0)
    maps = torch.cat([(truth > 0)[None] * 20.0 - 10, hv_map(truth)])[None]
    with torch.no_grad():
        found = build(head=PerfectHead(maps)).eval()([sample(truth)])[0]
    assert torch.equal(found["instance_map"] > 0, truth > 0)
    assert len(found["instances"]) == 2
    for nucleus in (1, 2):
        assert len(found["instance_map"][truth == nucleus].unique()) == 1
    assert len(found["instance_map"].unique()) == 3


def test_images_of_other_sizes_are_predicted_by_windows():
    with torch.no_grad():
        found = build().eval()([{"image": torch.zeros(3, 70, 41, dtype=torch.uint8)}])[0]
    assert found["foreground"].shape == (70, 41)
    assert 0 <= found["foreground"].min() <= found["foreground"].max() <= 1
