"""Where on a slide there is tissue: what has a colour on its thumbnail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label
from skimage.filters import threshold_otsu

from selfsam_d2.slides.grid import Tile

__all__ = ["THUMBNAIL", "tiles_with_tissue", "tissue_mask"]

THUMBNAIL = 2048  # px, longer side
# Otsu's threshold is held within these: on a slide full of tissue it would cut tissue in two, on
# an empty one it would part noise. Glass is below the first, stained tissue above the second.
CHROMA = (0.04, 0.10)
SMOOTHING = 1.0  # px of the thumbnail
SMALL = 4e-5  # share of the thumbnail below which a piece is dirt
DILATION = 3  # px of the thumbnail


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find tissue by its chroma: the largest minus the smallest of R, G and B, in [0, 1].

    Unlike saturation it is small in black, too: scanners leave what they did not scan black.

    Args:
        thumbnail: (h, w, 3) uint8 RGB.

    Returns:
        (h, w) bool, with a seam around the tissue.
    """
    values = thumbnail.astype(np.float32) / 255
    chroma = gaussian_filter(values.max(axis=2) - values.min(axis=2), SMOOTHING)
    otsu = threshold_otsu(chroma) if chroma.min() < chroma.max() else CHROMA[0]
    found = chroma > np.clip(otsu, *CHROMA)
    pieces, _ = label(found)
    large = np.bincount(pieces.ravel()) >= SMALL * found.size
    return np.asarray(binary_dilation(found & large[pieces], iterations=DILATION))


def tiles_with_tissue(
    tiles: Sequence[Tile], mask: NDArray[np.bool_], width: int, height: int
) -> list[Tile]:
    """The tiles whose core holds tissue.

    Args:
        tiles: of the slide.
        mask: (h, w) bool, of the whole slide made small.
        width: of the slide, px.
        height: of the slide, px.
    """
    down, across = mask.shape[0] / height, mask.shape[1] / width

    def has_tissue(tile: Tile) -> bool:
        left, top, right, bottom = tile.core
        rows = slice(int(top * down), max(int(np.ceil(bottom * down)), int(top * down) + 1))
        columns = slice(
            int(left * across), max(int(np.ceil(right * across)), int(left * across) + 1)
        )
        return bool(mask[rows, columns].any())

    return [tile for tile in tiles if has_tissue(tile)]
