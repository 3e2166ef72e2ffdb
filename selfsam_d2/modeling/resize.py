"""The one way in which maps change their resolution.

Shape legend:
    N, C: number of images and of channels
    h, w: height and width before, px
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

__all__ = ["resize_maps"]


def resize_maps(maps: Tensor, size: Sequence[int]) -> Tensor:
    r"""Resize maps bilinearly between the crop, the encoder's side S and the logits' side S/4.

    Pixel centres lie at half pixels (``align_corners=False``): output pixel :math:`i` of
    :math:`n'` reads the input of :math:`n` pixels at

    .. math:: (i + 0.5) \, \frac{n}{n'} - 0.5

    so the whole pixel area of the image is mapped onto the whole pixel area, as it is for the
    points. Aligned corners would stretch the map by a pixel, which moves the borders of the nuclei.
    Nothing is smoothed before shrinking (``antialias=False``): maps are enlarged here, or shrunk
    by far less than 2 (S/4 = 256 to a crop of 224), where two neighbours leave out no pixel.

    Resize logits and take the sigmoid afterwards: the border of a resized probability lies inside
    the nucleus for a threshold above 0.5.

    Args:
        maps: (N, C, h, w) floats.
        size: height and width after, px.

    Returns:
        (N, C, \*size), C may be 0, same type and device.
    """
    if not maps.shape[1]:
        # F.interpolate refuses maps of no channel, which a crop without points has.
        return maps.new_zeros((*maps.shape[:2], *size)) + maps.sum() * 0
    return F.interpolate(
        maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=False
    )
