"""SAM-Adapter (Chen et al., 2023): tokens made by hand from the image, added to each block.

Shapes:
    B: images, S: encoder input side, D: channels of the patch embedding, h x w: token grid of the
    patch embedding, r: channels of the adapter's tokens, C: channels of a block.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["StageAdapter", "TokenMaker", "high_pass"]


def high_pass(images: Tensor, share: float = 0.25) -> Tensor:
    r"""Absolute high-pass image: the low frequencies of each channel removed.

    .. math:: \mathrm{hp}(I) = |\mathcal{F}^{-1}(\mathcal{F}(I) \cdot \mathbb{1}[j \notin Q])|

    with :math:`Q` the centred square that holds ``share`` of the spectrum.

    Args:
        images: (B, 3, S, S), any range.
        share: share of the spectrum that :math:`Q` holds, in [0, 1].

    Returns:
        (B, 3, S, S), not negative.
    """
    height, width = images.shape[-2:]
    rows, columns = (_low_frequencies(side, share, images.device) for side in (height, width))
    # Q is not symmetric: of a frequency and its negative, on its border, it holds one. The real
    # part of what the full transform gives is the mean of both masks, for which half of the
    # spectrum of a real image is enough.
    low = torch.outer(rows, columns) + torch.outer(_negated(rows), _negated(columns))
    kept = 1 - low[:, : width // 2 + 1] / 2
    spectrum = torch.fft.rfft2(images.float(), norm="forward") * kept
    restored = torch.fft.irfft2(spectrum, (height, width), norm="forward")
    return restored.abs().to(images.dtype)


def _low_frequencies(side: int, share: float, device: torch.device) -> Tensor:
    """1 at the frequencies of Q along one axis, else 0, in the order of the FFT: (side,)."""
    reach = round(side * math.sqrt(share) / 2)
    frequency = torch.arange(side, device=device) - side // 2
    inside = (frequency >= -reach) & (frequency < reach)
    return torch.fft.ifftshift(inside.float())


def _negated(mask: Tensor) -> Tensor:
    """The mask at the negative of each frequency."""
    return mask.flip(0).roll(1)


class TokenMaker(nn.Module):
    """The two hand-made tokens per patch, summed: patch embedding and high-pass image.

    Args:
        embed_dim: D, channels of the patch embedding.
        rank: r.
        patch_size: px of the encoder input per token of the patch embedding.
        high_pass_share: see :func:`high_pass`.
    """

    def __init__(
        self, *, embed_dim: int, rank: int, patch_size: int, high_pass_share: float = 0.25
    ) -> None:
        super().__init__()
        self.high_pass_share = high_pass_share
        self.embedding = nn.Linear(embed_dim, rank)
        self.high_pass = nn.Conv2d(3, rank, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor, patch_embedding: Tensor) -> Tensor:
        """Make the tokens.

        Args:
            images: (B, 3, S, S) normalised.
            patch_embedding: (B, D, h, w).

        Returns:
            (B, r, h, w).
        """
        embedded = self.embedding(patch_embedding.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return embedded + self.high_pass(high_pass(images, self.high_pass_share))


class StageAdapter(nn.Module):
    """The adapters of the blocks of one stage: a Linear r -> r + GELU each, one Linear r -> C.

    A plain ViT is one stage.

    Args:
        rank: r.
        dim: C.
        depth: number of blocks.
        zero_init: start the shared up-projection at zero, so that the first forward equals the
            encoder without adapters.
        read_features: not in the paper: a Linear C -> r of the block's own input (behind a
            LayerNorm) is added to its tokens.
    """

    def __init__(
        self,
        *,
        rank: int,
        dim: int,
        depth: int,
        zero_init: bool = True,
        read_features: bool = False,
    ) -> None:
        super().__init__()
        self.tune = nn.ModuleList(
            nn.Sequential(nn.Linear(rank, rank), nn.GELU()) for _ in range(depth)
        )
        self.read = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, rank))
            for _ in range(depth if read_features else 0)
        )
        self.up = nn.Linear(rank, dim)
        if zero_init:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    @staticmethod
    def resample(tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens (B, r, h, w) averaged onto the grid of a stage: (B, size[0], size[1], r)."""
        if tokens.shape[-2:] != size:
            tokens = F.adaptive_avg_pool2d(tokens, size)
        return tokens.permute(0, 2, 3, 1)

    def forward(self, tokens: Tensor, features: Tensor, block: int) -> Tensor:
        """What is added to the input of a block.

        Args:
            tokens: (B, H, W, r) on the grid of the stage.
            features: (B, H, W, C), the block's input.
            block: index of the block in its stage.

        Returns:
            (B, H, W, C).
        """
        if len(self.read):
            tokens = tokens + self.read[block](features)
        return self.up(self.tune[block](tokens))
