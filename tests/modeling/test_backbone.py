"""The backbone: base equals adapted at the start, frozen parts stay frozen."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone

from selfsam_d2.config import add_selfsam_config
from selfsam_d2.modeling.adapter import high_pass
from selfsam_d2.modeling.backbone import EMBEDDING, SAMAdapterBackbone
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return TinyViTEncoder()


def make(encoder, **options):
    torch.manual_seed(1)
    return SAMAdapterBackbone(encoder=encoder, **options)


def wake(backbone):
    """Give the up-projections values, as training would."""
    for adapter in backbone.adapters:
        torch.nn.init.normal_(adapter.up.weight, std=0.5)


@pytest.mark.parametrize("side", [64, 128, 192])
@pytest.mark.parametrize("read_features", [False, True])
def test_at_zero_the_adapted_embedding_equals_the_base_one(encoder, side, read_features):
    backbone = make(encoder, read_features=read_features).train()
    images = torch.randn(2, 3, side, side)
    base = backbone.forward_base(images)[EMBEDDING]
    assert base.shape == (2, 256, side // 16, side // 16)
    assert torch.equal(backbone(images)[EMBEDDING], base)
    assert torch.equal(base, encoder(images))


@pytest.mark.parametrize("read_features", [False, True])
def test_adapters_change_the_adapted_embedding_only(encoder, read_features):
    backbone = make(encoder, read_features=read_features)
    images = torch.randn(1, 3, 64, 128)
    before = backbone.forward_base(images)[EMBEDDING]
    wake(backbone)
    base, adapted = (each[EMBEDDING] for each in backbone.forward_both(images))
    assert torch.equal(base, before)
    assert torch.equal(adapted, backbone(images)[EMBEDDING])
    assert not torch.allclose(adapted, base)


@pytest.mark.parametrize("read_features", [False, True])
def test_only_adapters_learn(encoder, read_features):
    backbone = make(encoder, read_features=read_features).train()
    wake(backbone)
    backbone(torch.randn(1, 3, 64, 64))[EMBEDDING].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        learned = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert learned == name.startswith("adapter"), name


def test_batch_norms_stay_as_they_are(encoder):
    backbone = make(encoder)
    parent = torch.nn.Sequential(backbone)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    parent.train()
    backbone(torch.randn(2, 3, 64, 64) * 5)
    assert backbone.training
    assert not any(module.training for module in encoder.modules())
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_loading_after_a_forward_is_seen(encoder):
    # timm keeps expanded attention biases from the forward before.
    fresh = TinyViTEncoder()
    backbone = make(fresh)
    images = torch.randn(1, 3, 64, 64)
    backbone.forward_base(images)
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    for key in state:
        if key.endswith("attention_biases"):
            state[key] = torch.randn_like(state[key])
    fresh.load_state_dict(state)
    reference = TinyViTEncoder().eval()
    reference.load_state_dict(state)
    with torch.no_grad():
        expected = reference(images)
    assert torch.equal(backbone.forward_base(images)[EMBEDDING], expected)


def test_both_passes_share_one_patch_embedding(encoder, monkeypatch):
    backbone = make(encoder)
    calls = []
    original = backbone.encoder.front
    monkeypatch.setattr(
        backbone.encoder, "front", lambda images: calls.append(1) or original(images)
    )
    backbone.forward_both(torch.randn(1, 3, 64, 64))
    assert calls == [1]


def test_it_is_registered_and_described():
    cfg = get_cfg()
    add_selfsam_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "SAMAdapterBackbone"
    backbone = build_backbone(cfg)
    assert isinstance(backbone, SAMAdapterBackbone)
    assert backbone.size_divisibility == 64
    assert backbone.output_shape() == {EMBEDDING: ShapeSpec(channels=256, stride=16)}


def test_other_sides_are_refused(encoder):
    with pytest.raises(ValueError, match="100x64"):
        make(encoder)(torch.zeros(1, 3, 100, 64))


def test_high_pass_removes_the_low_quarter_and_keeps_the_rest():
    side = 32
    x = torch.arange(side) / side
    slow = torch.cos(2 * torch.pi * 3 * x).expand(1, 3, side, side)
    fast = torch.cos(2 * torch.pi * 12 * x).expand(1, 3, side, side)
    flat = torch.ones(1, 3, side, side)
    found = high_pass(slow + fast + flat)
    assert torch.allclose(found, fast.abs(), atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 1.0])
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (448, 192)])
def test_high_pass_is_that_of_the_full_transform(size, share):
    # From the definition, with every frequency, in double precision.
    images = torch.randn(2, 3, *size)
    spectrum = np.fft.fftshift(np.fft.fft2(images.double().numpy()), axes=(-2, -1))
    top, left = (round(side * (1 - share**0.5) / 2) for side in size)
    spectrum[..., top : size[0] - top, left : size[1] - left] = 0
    expected = np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real)
    assert np.allclose(high_pass(images, share), expected, atol=1e-5)
