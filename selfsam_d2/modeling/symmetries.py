"""Mean prediction over the symmetries of the square: flips and quarter turns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

__all__ = ["SYMMETRIES", "average_over_symmetries"]

SYMMETRIES = (1, 2, 4, 8)
# Transposed, flipped from top to bottom, flipped from left to right; the first n of them form a
# group for each n of SYMMETRIES.
_ELEMENTS = tuple(product((False, True), repeat=3))


def average_over_symmetries(
    predict: Callable[[Tensor], Tensor], image: Tensor, count: int
) -> Tensor:
    r"""Predict an image in several orientations, turn the maps back and average them.

    .. math:: \frac{1}{n} \sum_{g \in G} g^{-1} f(g I)

    where :math:`g` also acts on the two components of the HV map, as on any vector.

    Args:
        predict: :math:`f`, (3, h, w) image -> (3, h, w): B, then the HV map in x and y; it must
            take the transposed size too.
        image: (3, H, W), any type.
        count: n: 1 the image as it is, 2 and its mirror image, 4 all flips, 8 and quarter turns.

    Returns:
        (3, H, W) float.

    Raises:
        ValueError: ``count`` is none of :data:`SYMMETRIES`.
    """
    if count not in SYMMETRIES:
        raise ValueError(f"Expected argument `count` to be one of {SYMMETRIES}, but got {count}.")
    total: Tensor | None = None
    for transposed, upended, mirrored in _ELEMENTS[:count]:
        axes = [axis for axis, flipped in ((1, upended), (2, mirrored)) if flipped]
        turned = image.transpose(1, 2) if transposed else image
        maps = predict(turned.flip(axes).contiguous()).flip(axes).float()
        foreground, across, down = maps
        across, down = (-across if mirrored else across), (-down if upended else down)
        if transposed:
            foreground, across, down = foreground.T, down.T, across.T
        found = torch.stack([foreground, across, down])
        total = found if total is None else total + found
    assert total is not None  # a group has at least one element
    return total / count
