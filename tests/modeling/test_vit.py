"""SAM's ViT encoders give what segment-anything's own give, from the same weights."""

from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_backbone
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT

from selfsam_d2.engine.setup import load_config
from selfsam_d2.modeling.backbone import EMBEDDING, SAMAdapterBackbone
from selfsam_d2.modeling.relative_attention import relative_attention
from selfsam_d2.modeling.vit import VIT_SIZES, RelativeAttention, SAMViTEncoder

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 2, "global_blocks": (1,)}


@pytest.fixture
def both(randomise):
    """The same random weights in segment-anything's encoder and in ours, both small."""
    torch.manual_seed(0)
    theirs = ImageEncoderViT(
        img_size=1024,
        embed_dim=SMALL["embed_dim"],
        depth=SMALL["depth"],
        num_heads=SMALL["num_heads"],
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=SMALL["global_blocks"],
    ).eval()
    randomise(theirs)
    ours = SAMViTEncoder(**SMALL).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("sides", [(1024, 1024), (448, 448), (256, 384)])
@torch.no_grad()
def test_equals_segment_anything(both, interpolate_position, sides):
    theirs, ours = both
    images = torch.randn(2, 3, *sides)
    found = ours(images)
    if sides != (1024, 1024):
        interpolate_position(theirs, (sides[0] // 16, sides[1] // 16))
    expected = theirs(images)
    assert found.shape == (2, 256, sides[0] // 16, sides[1] // 16)
    # Positions differ, in the absolute and in the relative embeddings.
    assert expected.std(dim=(2, 3)).mean() > 0.3
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", VIT_SIZES)
def test_sizes_are_those_of_segment_anything(name):
    with torch.device("meta"):
        ours = SAMViTEncoder(**VIT_SIZES[name])
        theirs = sam_model_registry[name]().image_encoder
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}
    for own, block in zip(ours.blocks, theirs.blocks, strict=True):
        assert own.attn.num_heads == block.attn.num_heads
        assert own.attn.window == block.window_size
        assert own.norm1.eps == block.norm1.eps


@pytest.mark.parametrize("name", VIT_SIZES)
def test_each_size_has_its_config(name):
    cfg = load_config(str(CONFIGS / f"monuseg_{name.replace('_', '')}.yaml"), [])
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert cfg.MODEL.WEIGHTS.removeprefix("sam_") == name
    assert len(backbone.encoder.blocks) == VIT_SIZES[name]["depth"]
    assert backbone.encoder.embed_dim == VIT_SIZES[name]["embed_dim"]


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("grid", [(5, 7), (14, 14)])
def test_relative_attention_and_its_gradients_equal_the_definition(grid, compact):
    torch.manual_seed(0)
    height, width = grid
    shape = (2, 3, height * width, 8)
    inputs = [torch.randn(shape, dtype=torch.double, requires_grad=True) for _ in range(3)]
    inputs.append(torch.randn(height, height, 8, dtype=torch.double, requires_grad=True))
    inputs.append(torch.randn(width, width, 8, dtype=torch.double, requires_grad=True))
    query, key, value, rows, columns = inputs
    found = relative_attention(query, key, value, rows, columns, compact=compact)
    scores = query @ key.transpose(-1, -2) / 8**0.5
    bias = torch.stack(
        [
            torch.stack(
                [
                    query[..., i, :]
                    @ (rows[i // width, j // width] + columns[i % width, j % width])
                    for j in range(height * width)
                ],
                dim=-1,
            )
            for i in range(height * width)
        ],
        dim=-2,
    )
    expected = (scores + bias).softmax(dim=-1) @ value
    assert torch.allclose(found, expected, atol=1e-12)
    weight = torch.randn(shape, dtype=torch.double)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_gradients_under_autocast(randomise):
    # As Detectron2's AMPTrainer: the forward pass under autocast, the backward pass without.
    torch.manual_seed(0)
    attention = RelativeAttention(32, 2, 0)
    randomise(attention)
    gradients = []
    for compact in (False, True):
        tokens = torch.randn(1, 6, 6, 32, generator=torch.Generator().manual_seed(1))
        tokens.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = attention(tokens, compact)
        assert out.dtype == torch.bfloat16
        out.float().square().sum().backward()
        gradients.append(tokens.grad)
    assert gradients[0].abs().max() > 0
    assert torch.equal(*gradients)


def _storages(packed):
    """Bytes of each storage that something packed keeps."""
    if isinstance(packed, torch.Tensor):
        return {packed.untyped_storage().data_ptr(): packed.untyped_storage().nbytes()}
    parts = (
        packed.args if isinstance(packed, partial) else packed if isinstance(packed, list) else []
    )
    return {at: size for part in parts for at, size in _storages(part).items()}


def test_for_the_backward_pass_no_wide_tensor_is_kept(monkeypatch):
    made = []

    class Spy(torch.autograd.graph.saved_tensors_hooks):
        def __init__(self, pack, unpack):
            def spy(tensor):
                made.append(pack(tensor))
                return made[-1]

            super().__init__(spy, unpack)

    monkeypatch.setattr("selfsam_d2.modeling.relative_attention.saved_tensors_hooks", Spy)
    projected = torch.randn(1, 2, 64, 3 * 8, requires_grad=True)
    # As in the encoder: q, k and v are parts of one tensor, which is kept once.
    relative_attention(*projected.chunk(3, dim=-1), torch.randn(8, 8, 8), torch.randn(8, 8, 8))
    kept = {at: size for each in made for at, size in _storages(each).items()}
    output, relative, log_sums = 2 * 64 * 8, 2 * 8 * 8 * 8, 2 * 64
    assert sum(kept.values()) == 4 * (projected.numel() + output + relative + log_sums)


@pytest.mark.parametrize(("compact", "runs"), [(True, [1, 2, 1]), (False, [1, 1, 1])])
def test_mlps_of_global_blocks_are_computed_again(randomise, compact, runs):
    encoder = SAMViTEncoder(**SMALL)
    randomise(encoder)
    counts = [0] * SMALL["depth"]
    for index, block in enumerate(encoder.blocks):
        block.compact = compact

        def count(*_, index=index):
            counts[index] += 1

        block.mlp.lin1.register_forward_hook(count)
    features = torch.randn(1, 4, 4, SMALL["embed_dim"], requires_grad=True)
    encoder.encode(features).square().sum().backward()
    assert counts == runs


def test_checkpointed_blocks_keep_nothing_for_themselves():
    backbone = SAMAdapterBackbone(encoder=SAMViTEncoder(**SMALL), checkpoint_blocks=True)
    assert not any(block.compact for block in backbone.encoder.blocks)
    backbone = SAMAdapterBackbone(encoder=SAMViTEncoder(**SMALL))
    assert all(block.compact for block in backbone.encoder.blocks)


def test_checkpointed_blocks_give_the_same_gradients(randomise):
    images = torch.randn(1, 3, 128, 128)
    gradients = []
    for checkpoint_blocks in (False, True):
        torch.manual_seed(0)
        encoder = SAMViTEncoder(**SMALL)
        randomise(encoder)
        backbone = SAMAdapterBackbone(
            encoder=encoder, reduction=4, zero_init=False, checkpoint_blocks=checkpoint_blocks
        ).train()
        runs = []
        for block in encoder.blocks:
            block.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        backbone(images)[EMBEDDING].square().sum().backward()
        # The backward pass computes each block once more.
        assert len(runs) == SMALL["depth"] * (2 if checkpoint_blocks else 1)
        gradients.append({name: each.grad for name, each in backbone.named_parameters()})
    first, second = gradients
    learnt = [name for name, gradient in first.items() if gradient is not None]
    assert learnt
    assert all(name.startswith("adapter") for name in learnt)
    for name in learnt:
        assert torch.equal(first[name], second[name])


@pytest.mark.parametrize("training", [False, True])
def test_global_attention_never_builds_the_matrix_of_scores(training):
    attention = RelativeAttention(64, 2, 0)
    tokens = torch.randn(1, 16, 16, 64, requires_grad=training)
    with torch.set_grad_enabled(training), torch.profiler.profile() as profile:
        out = attention(tokens)
        if training:
            out.sum().backward()
    used = {event.key for event in profile.key_averages()}
    assert any("flash" in name for name in used)
    assert not any("math" in name or "softmax" in name for name in used)
