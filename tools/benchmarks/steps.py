"""Training steps of SelfSAM on a made crop, with this package's encoder or segment-anything's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from segment_anything.modeling.image_encoder import Block
from torch import nn

from benchmarks.measure import device
from benchmarks.scenes import CROP, make_crop
from selfsam_d2.engine.setup import load_config

__all__ = ["build_selfsam", "prepare_step", "use_segment_anything_blocks"]

CONFIGS = Path(__file__).parents[2] / "configs"


def build_selfsam(encoder: str, **keys: Any) -> Any:
    """SelfSAM of ``configs/monuseg_<encoder>.yaml`` with random, seeded weights.

    Args:
        encoder: such as ``vit_b``.
        keys: keys of the config, with ``__`` for the dot.
    """
    torch.manual_seed(0)
    overrides = {name.replace("__", "."): value for name, value in keys.items()}
    overrides["MODEL.DEVICE"] = device().type
    options = [str(each) for pair in overrides.items() for each in pair]
    cfg = load_config(str(CONFIGS / f"monuseg_{encoder.replace('_', '')}.yaml"), options)
    model = build_model(cfg)
    model.alpha = 0.5  # both m_base and m_adapt are needed
    return model


def use_segment_anything_blocks(model: Any) -> Any:
    """Put segment-anything's own blocks, with the same weights, into a ViT encoder."""
    encoder = model.backbone.encoder
    blocks = []
    for own in encoder.blocks:
        side = own.attn.window or (len(own.attn.rel_pos_h) + 1) // 2
        block = Block(
            dim=encoder.embed_dim,
            num_heads=own.attn.num_heads,
            norm_layer=lambda dim: nn.LayerNorm(dim, eps=1e-6),
            use_rel_pos=True,
            window_size=own.attn.window,
            input_size=(side, side),
        )
        block.load_state_dict(own.state_dict())
        blocks.append(block.requires_grad_(False).eval())
    encoder.blocks = nn.ModuleList(blocks).to(device())
    return model


def prepare_step(
    encoder: str, points: int, segment_anything: bool, cached: bool, keys: dict[str, Any]
) -> Callable[[], float]:
    """A training step, ready to be run: forward, backward, optimizer. It gives the loss.

    Args:
        encoder: such as ``vit_b``.
        points: points of the crop.
        segment_anything: use its own encoder blocks.
        cached: base masks come with the crop.
        keys: of the config, see :func:`build_selfsam`.
    """
    model = build_selfsam(encoder, **keys)
    if segment_anything:
        use_segment_anything_blocks(model)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    crop = make_crop(points, keys.get("INPUT__NUCLEI__CROP", CROP))
    if not cached:
        del crop["base_masks"]

    def step() -> float:
        loss = sum(model([crop]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step
