"""Contours of several kinds of nuclei over one image, each kind in its colour.

Shape legend:
    H, W: height and width of the image, px
    s: whole factor by which the image is enlarged
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.visualization.overlay import draw_contours, enlarge, enlarge_labels

__all__ = ["ContourLayer", "draw_layers", "drawing_factor"]

MIN_DRAWN_SIDE = 1000  # px; smaller images are enlarged


@dataclass(frozen=True)
class ContourLayer:
    """Nuclei that are drawn alike.

    Attributes:
        instance_map: (H, W) that they are in.
        ids: theirs.
        color: RGB.
        thickness: of the lines, px of the image, at least 1.
    """

    instance_map: NDArray[np.integer[Any]]
    ids: Collection[int]
    color: tuple[int, int, int]
    thickness: int


def drawing_factor(size: tuple[int, int]) -> int:
    """s of an image of (H, W) px: the smallest that makes its longer side 1000 px or more."""
    return max(1, -(-MIN_DRAWN_SIDE // max(size)))


def draw_layers(image: NDArray[np.uint8], layers: Sequence[ContourLayer]) -> NDArray[np.uint8]:
    """Enlarge an image and draw contours on it, later layers over earlier ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        layers: from the lowest to the topmost.

    Returns:
        (sH, sW, 3) uint8 RGB, see :func:`drawing_factor`.

    Raises:
        ValueError: a map is not of the size of the image.
    """
    factor = drawing_factor(image.shape[:2])
    drawn = enlarge(image, factor)
    for layer in layers:
        of_layer = np.isin(layer.instance_map, list(layer.ids))
        chosen = np.where(of_layer, layer.instance_map, 0)
        lines = draw_contours(np.zeros_like(image), chosen, (1, 1, 1), layer.thickness)[..., 0]
        drawn[enlarge_labels(lines, factor) > 0] = layer.color
    return drawn
