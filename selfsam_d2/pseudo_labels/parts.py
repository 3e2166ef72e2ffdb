"""A nucleus is one piece: what labels made pixel by pixel do not know."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label, regionprops
from torch import Tensor

__all__ = ["keep_one_part"]


def keep_one_part(ids: Tensor) -> Tensor:
    """Each nucleus reduced to its largest 4-connected part, with its holes filled.

    Of parts of one size the one that begins in the upper row, then further left, stays. A hole
    is background enclosed by one nucleus, also where another nucleus lies in it: that one stays.

    Args:
        ids: (H, W) int64; 0 background, 1 ... K nuclei, no other value.

    Returns:
        (H, W) int64; no nucleus of ``ids`` is lost.

    Raises:
        ValueError: ``ids`` is not (H, W) or holds a negative id.
    """
    if ids.ndim != 2 or (ids.numel() and int(ids.min()) < 0):
        raise ValueError(
            f"Expected argument `ids` to be (H, W) without negative ids, but got "
            f"{tuple(ids.shape)}."
        )
    given = ids.cpu().numpy()
    parts = label(given, background=0, connectivity=1)
    largest: dict[int, tuple[float, int]] = {}
    regions = regionprops(parts)
    for index, region in enumerate(regions):
        nucleus = int(given[tuple(region.coords[0])])
        if nucleus not in largest or region.area > largest[nucleus][0]:
            largest[nucleus] = (region.area, index)
    kept = np.zeros_like(given)
    for nucleus, (_, index) in largest.items():
        kept[tuple(regions[index].coords.T)] = nucleus
    for nucleus, (_, index) in largest.items():
        window = kept[regions[index].slice]
        holes = ndimage.binary_fill_holes(regions[index].image) & (window == 0)
        window[holes] = nucleus
    return torch.from_numpy(kept).to(ids.device)
