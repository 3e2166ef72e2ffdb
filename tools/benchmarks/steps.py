"""Training steps of SelfSAM on a made crop, with this package's encoder or segment-anything's."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling import build_model
from segment_anything.modeling.image_encoder import Block
from torch import nn

from benchmarks.measure import device
from benchmarks.scenes import CROP, make_crop
from selfsam_d2.data.base_cache import BaseCache, pack_masks
from selfsam_d2.data.transforms import draw_affine_crop
from selfsam_d2.engine.setup import load_config
from selfsam_d2.modeling.backbone import EMBEDDING

__all__ = [
    "build_selfsam",
    "prepare_step",
    "prepare_steps",
    "read_base_masks",
    "use_segment_anything_blocks",
]

CONFIGS = Path(__file__).parents[2] / "configs"


# Random weights give masks of 0.5 everywhere, which the entropy rule ignores: nothing would be
# learned. So that every loss works on every pixel: confident masks, one a pixel, none ignored.
LIVELY = {
    "PSEUDO_LABEL.VORONOI": True,
    "PSEUDO_LABEL.ENTROPY_THRESHOLD": 1000.0,
    "PSEUDO_LABEL.CONSENSUS": False,
    "MODEL.LOSS.CONTRAST_WEIGHT": 1.0,
    "MODEL.CONTRAST.FOREGROUND_THRESHOLD": 0.0,
}
GAIN = 100.0  # on the weights that read the masks: logits of some units


def build_selfsam(encoder: str, **keys: Any) -> Any:
    """SelfSAM of ``configs/monuseg_<encoder>.yaml`` with random, seeded weights.

    Args:
        encoder: such as ``vit_b``.
        keys: keys of the config, with ``__`` for the dot.
    """
    torch.manual_seed(0)
    overrides = {**LIVELY} | {name.replace("__", "."): value for name, value in keys.items()}
    overrides["MODEL.DEVICE"] = device().type
    options = [str(each) for pair in overrides.items() for each in pair]
    cfg = load_config(str(CONFIGS / f"monuseg_{encoder.replace('_', '')}.yaml"), options)
    model = build_model(cfg)
    model.alpha = 0.5  # both m_base and m_adapt are needed
    with torch.no_grad():
        for network in model.prompter.mask_decoder.output_hypernetworks_mlps:
            network.layers[-1].weight *= GAIN
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
    if cached:
        crop["base_masks"] = _base_masks(model, crop)

    def step() -> float:
        losses = model([crop])
        if not all(each.item() > 0 for each in losses.values()):
            raise RuntimeError(f"a loss has nothing to act on: {losses}")
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def prepare_steps(
    count: int, encoder: str, points: int, segment_anything: bool, keys: dict[str, Any]
) -> Callable[[], float]:
    """Several steps of :func:`prepare_step`, for their memory; they give the first loss."""
    step = prepare_step(encoder, points, segment_anything, False, keys)

    def run() -> float:
        losses = [step() for _ in range(count)]
        return losses[0]

    return run


@torch.no_grad()
def _base_masks(model: Any, crop: dict[str, Any]) -> torch.Tensor:
    """m_base as the mapper brings it: (K, c, c) float32."""
    images = model.preprocess(crop["image"][None].to(device()))
    embedding = model.backbone.forward_base(images)[EMBEDDING]
    size = crop["image"].shape[1:]
    return model.prompt_logits(embedding, model.encode_prompts(crop), size).sigmoid().cpu()


def read_base_masks(points: int, keys: dict[str, Any], repeats: int = 5) -> float:
    """Seconds in which a data worker reads and warps the stored masks of a crop, a median.

    Random weights make masks as large as the crop, so that of a real training is less.
    """
    crop = make_crop(points)
    masks = _base_masks(build_selfsam("vit_t", **keys), crop).numpy()
    places, chosen = crop["points"].numpy(), np.arange(points)
    record = {"file_name": "image.png"}
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        cache = BaseCache(folder)
        cache.keys[record["file_name"]] = "key"
        cache.write(record, pack_masks([((0, 0), chosen, masks)], (CROP, CROP)))
        for seed in range(repeats):
            transform = draw_affine_crop(np.random.default_rng(seed), (CROP, CROP), CROP)
            start = time.perf_counter()
            cache.crop_masks(record, places, chosen, transform)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
