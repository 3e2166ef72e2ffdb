"""Mean prediction over several enlargements of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsam_d2.modeling.resize import resize_maps

__all__ = ["average_over_scales"]


def average_over_scales(
    predict: Callable[[Tensor], Tensor], image: Tensor, scales: Sequence[float]
) -> Tensor:
    r"""Predict an image in several sizes, bring the maps back to its own size and average them.

    .. math:: \frac{1}{n} \sum_{s} R_{1/s} f(R_s I)

    with :math:`R_s` the bilinear resize by s (smoothed where it shrinks). All maps keep their
    values: the HV map is relative to the size of a nucleus, so it does not depend on the scale.

    Args:
        predict: :math:`f`, (3, h, w) uint8 image -> (C, h, w) maps; any size.
        image: (3, H, W) uint8 RGB.
        scales: s, above 0; 1 is the image as it is.

    Returns:
        (C, H, W) float.

    Raises:
        ValueError: no scale is given.
    """
    if not scales:
        raise ValueError("Expected argument `scales` to hold at least one scale, but it is empty.")
    height, width = image.shape[1:]
    maps = []
    for scale in scales:
        size = (max(1, round(scale * height)), max(1, round(scale * width)))
        found = predict(_resize_image(image, size)).float()
        maps.append(resize_maps(found[None], (height, width))[0])
    return torch.stack(maps).mean(0)


def _resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    if size == tuple(image.shape[1:]):
        return image
    resized = F.interpolate(
        image[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    return resized.round().clamp(0, 255).to(image.dtype)
