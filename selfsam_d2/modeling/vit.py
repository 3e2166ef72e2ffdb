"""SAM's ViT image encoders (B, L, H), run block by block, with exact attention that fits."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.modeling.backbone.utils import (
    get_abs_pos,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from segment_anything.modeling.common import LayerNorm2d, MLPBlock
from segment_anything.modeling.image_encoder import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from selfsam_d2.modeling.relative_attention import relative_attention

__all__ = ["VIT_SIZES", "RelativeAttention", "SAMViTEncoder", "ViTBlock"]

OUT_CHANNELS = 256
PATCH = 16
# Of the encoder input that SAM was trained with; other sides interpolate the position embeddings.
PRETRAINED_GRID = 1024 // PATCH
WINDOW = 14
# Name -> width, blocks, heads and the blocks that attend globally.
VIT_SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {"embed_dim": 768, "depth": 12, "num_heads": 12, "global_blocks": (2, 5, 8, 11)},
    "vit_l": {"embed_dim": 1024, "depth": 24, "num_heads": 16, "global_blocks": (5, 11, 17, 23)},
    "vit_h": {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_blocks": (7, 15, 23, 31)},
}


class SAMViTEncoder(nn.Module):
    """SAM's ``ImageEncoderViT``: the same keys, the same embedding, without its N x N matrices.

    Its parts are public so that a backbone can add something between the blocks, as those of
    :class:`selfsam_d2.modeling.tiny_vit.TinyViTEncoder`; a plain ViT is one stage.

    Args:
        embed_dim: channels of the tokens.
        depth: number of blocks.
        num_heads: attention heads.
        global_blocks: indices of the blocks that attend globally, the others within windows.

    Attributes:
        embed_dim: channels of the patch embedding.
        patch_size: px of the input per token, 16.
        stage_dims: channels of the one stage.
        stage_depths: its blocks.
    """

    patch_size = PATCH

    def __init__(
        self, *, embed_dim: int, depth: int, num_heads: int, global_blocks: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.stage_dims = (embed_dim,)
        self.stage_depths = (depth,)
        self.patch_embed = PatchEmbed((PATCH, PATCH), (PATCH, PATCH), embed_dim=embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, PRETRAINED_GRID, PRETRAINED_GRID, embed_dim))
        self.blocks = nn.ModuleList(
            ViTBlock(embed_dim, num_heads, 0 if index in global_blocks else WINDOW)
            for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(embed_dim, OUT_CHANNELS, kernel_size=1, bias=False),
            LayerNorm2d(OUT_CHANNELS),
            nn.Conv2d(OUT_CHANNELS, OUT_CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(OUT_CHANNELS),
        )

    def front(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Patch embedding (B, D, h, w), and with the position embedding what enters the blocks.

        Args:
            images: (B, 3, S, S) normalised.

        Returns:
            (B, D, S/16, S/16) and (B, S/16, S/16, D).
        """
        embedding: Tensor = self.patch_embed(images)
        size = (embedding.shape[1], embedding.shape[2])
        # Interpolated to the grid.
        position = get_abs_pos(self.pos_embed.flatten(1, 2), False, size)
        return embedding.permute(0, 3, 1, 2), embedding + position

    def stage_blocks(self, stage: int) -> list[nn.Module]:
        """The blocks of the one stage, each (B, h, w, D) -> (B, h, w, D)."""
        del stage
        return list(self.blocks)

    @staticmethod
    def leave_stage(features: Tensor, stage: int) -> Tensor:
        """Behind the one stage: (B, h, w, D) -> what enters the neck, (B, D, h, w)."""
        del stage
        return features.permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Encode without adapters.

        Args:
            images: (B, 3, S, S) normalised, S a multiple of 16.

        Returns:
            (B, 256, S/16, S/16).
        """
        return self.encode(self.front(images)[1])

    def encode(self, features: Tensor) -> Tensor:
        """What enters the blocks (B, h, w, D) -> embedding (B, 256, h, w), without adapters."""
        for block in self.blocks:
            features = block(features)
        return self.neck(self.leave_stage(features, 0))

    @staticmethod
    def rename_sam_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Keys of SAM's ``image_encoder.`` (prefix stripped): those of this class."""
        return state


class ViTBlock(nn.Module):
    """Attention and MLP, each behind a LayerNorm and added to its input.

    Args:
        dim: channels.
        num_heads: attention heads.
        window: side of the attention windows in tokens; 0: global attention.

    Attributes:
        compact: keep less for the backward pass where that takes little time; to be set to False
            where whole blocks are checkpointed.
    """

    compact = True

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = RelativeAttention(dim, num_heads, window)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MLPBlock(dim, 4 * dim)

    def forward(self, features: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        features = features + self.attn(self.norm1(features), compact=self.compact)
        # What an MLP keeps is made again in a third of the blocks, the global ones of SAM, which
        # takes hardly longer and keeps one of ViT-B at side 1024 below 5 GB.
        if self.compact and not self.attn.window and torch.is_grad_enabled():
            return features + checkpoint(self._mlp, features, use_reentrant=False)
        return features + self._mlp(features)

    def _mlp(self, features: Tensor) -> Tensor:
        transformed: Tensor = self.mlp(self.norm2(features))
        return transformed


class RelativeAttention(nn.Module):
    """Multi-head attention with decomposed relative positions, global or in windows.

    Args:
        dim: channels.
        num_heads: attention heads.
        window: side of the windows in tokens; 0: global.
    """

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        distances = 2 * (window or PRETRAINED_GRID) - 1
        self.rel_pos_h = nn.Parameter(torch.zeros(distances, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(distances, dim // num_heads))

    def forward(self, features: Tensor, compact: bool = True) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); ``compact``: see :func:`relative_attention`."""
        size = (features.shape[1], features.shape[2])
        # SAM pads the windows with zeros before this projection, so that padding takes part with
        # the bias alone: the same is had by padding behind it, which spares the work.
        if not self.window:
            return self.proj(self._attend(self.qkv(features), compact))
        projected = F.linear(features, self.qkv.weight)
        windows, padded = window_partition(projected, self.window)
        attended = self._attend(windows + self.qkv.bias.to(windows.dtype), compact)
        return self.proj(window_unpartition(attended, self.window, padded, size))

    def _attend(self, projected: Tensor, compact: bool) -> Tensor:
        """(B, H, W, 3C) queries, keys and values -> (B, H, W, C)."""
        height, width = projected.shape[1:3]
        query, key, value = (
            each.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for each in projected.chunk(3, dim=-1)
        )
        rows = get_rel_pos(height, height, self.rel_pos_h)
        columns = get_rel_pos(width, width, self.rel_pos_w)
        attended = relative_attention(query, key, value, rows, columns, compact=compact)
        return attended.transpose(1, 2).reshape(*projected.shape[:3], -1)
