"""TinyViT in a faster form gives what timm's own layers give."""

import pytest
import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, ConvNorm, NormMlp, TinyVit
from torch import nn

from selfsam_d2.modeling import tiny_vit, tiny_vit_layers
from selfsam_d2.modeling.tiny_vit import TinyViTEncoder, strip_rows
from selfsam_d2.modeling.tiny_vit_layers import ChunkedMlp, FoldedConvNorm, WindowAttention


def enliven(module):
    """Give every parameter and statistic a value that matters; positive where it must be."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.is_floating_point():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    module.eval()  # not chained: timm's Attention returns None
    return module


@pytest.fixture(scope="module")
def encoder():
    return enliven(TinyViTEncoder())


class PlainEncoder(nn.Module):
    """timm's TinyViT and SAM's neck as they come, with the stride of MobileSAM."""

    def __init__(self):
        super().__init__()
        body = TinyVit(
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            num_classes=0,
        )
        body.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.patch_embed, self.stages = body.patch_embed, body.stages
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, images):
        return self.neck(self.stages(self.patch_embed(images)))


@pytest.mark.parametrize("size", [(64, 64), (448, 448), (192, 320)])
def test_the_encoder_equals_timms_own_with_the_same_weights(encoder, size):
    plain = PlainEncoder().eval()
    plain.load_state_dict(encoder.state_dict())
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert torch.allclose(encoder(images), plain(images), atol=1e-4)


def test_strips_equal_the_whole(encoder, monkeypatch):
    images = torch.randn(2, 3, 320, 192)
    with torch.no_grad():
        whole = encoder.front(images)
        monkeypatch.setattr(tiny_vit, "STRIP_PIXELS", 1)
        assert strip_rows(192) == 64
        for found, expected in zip(encoder.front(images), whole, strict=True):
            assert found.shape == expected.shape
            assert torch.allclose(found, expected, atol=1e-5)


def test_the_halo_is_needed(encoder, monkeypatch):
    images = torch.randn(1, 3, 192, 64)
    with torch.no_grad():
        whole = encoder.front(images)[1]
        monkeypatch.setattr(tiny_vit, "STRIP_PIXELS", 1)
        monkeypatch.setattr(tiny_vit, "HALO", 8)
        assert not torch.allclose(encoder.front(images)[1], whole, atol=1e-5)


def test_a_strip_keeps_within_its_pixels():
    for width in (64, 448, 896, 2048):
        assert (strip_rows(width) + 2 * tiny_vit.HALO) * width <= tiny_vit.STRIP_PIXELS
    assert strip_rows(1_000_000) == 64


@pytest.mark.parametrize("training", [False, True])
def test_a_folded_layer_equals_convolution_and_frozen_norm(training):
    layer = enliven(ConvNorm(6, 8, ks=3, stride=2, pad=1, groups=2))
    maps = torch.randn(2, 6, 9, 12)
    expected = layer(maps)
    folded = FoldedConvNorm(layer).train(training)
    before = {name: value.clone() for name, value in folded.state_dict().items()}
    assert torch.allclose(folded(maps), expected, atol=1e-5)
    assert before.keys() == layer.state_dict().keys()
    for name, value in folded.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_window_attention_equals_timms_forward_and_backward():
    plain = enliven(Attention(64, 16, num_heads=4, attn_ratio=1, resolution=(7, 7)))
    fast = WindowAttention.like(plain)
    fast.eval()
    fast.load_state_dict(plain.state_dict())
    tokens = torch.randn(5, 49, 64)
    found, expected = [], []
    for attention, results in ((fast, found), (plain, expected)):
        leaf = tokens.clone().requires_grad_()
        out = attention(leaf)
        out.square().sum().backward()
        results += [out, leaf.grad]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("slow", "fast", "tokens"),
    [
        (Attention(64, 16, 4, attn_ratio=1, resolution=(7, 7)), WindowAttention, (5, 49, 64)),
        (NormMlp(32, 128), ChunkedMlp, (2, 150, 32)),
    ],
)
def test_parts_equal_the_whole(slow, fast, tokens, monkeypatch):
    enliven(slow)
    layer = fast.like(slow)
    layer.load_state_dict(slow.state_dict())
    layer.eval()
    features, calls = torch.randn(tokens), []
    layer.norm.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(tiny_vit_layers, "CHUNK_BYTES", 3 * 49 * 192 * 4)
    with torch.no_grad():
        found = layer(features)
        assert len(calls) == 2
        assert torch.allclose(found, slow(features), atol=1e-5)
    layer(features)
    assert len(calls) == 3  # at once where a gradient is wanted


def test_window_attention_never_builds_the_matrix_of_scores():
    attention = WindowAttention.like(Attention(64, 32, num_heads=2, attn_ratio=1))
    attention.eval()
    with torch.no_grad(), torch.profiler.profile() as profile:
        attention(torch.randn(2, 196, 64))
    used = {event.key for event in profile.key_averages()}
    assert not any("math" in name for name in used)
    assert any("flash" in name for name in used)
