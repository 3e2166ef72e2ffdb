"""Bilinear resizing of maps, half-pixel centres: one place for it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["resize_maps"]


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size), bilinear, pixel centres at half pixels."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
