"""The thumbnail of a slide with the contours of its nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from selfsam_d2.slides.result import SlideNuclei
from selfsam_d2.visualization.overlay import PREDICTED_COLOR

__all__ = ["LONGEST", "draw_slide"]

LONGEST = 4096  # px, longer side of the picture


def draw_slide(nuclei: SlideNuclei) -> NDArray[np.uint8]:
    """The slide, made small, with each pixel coloured that holds a part of a contour.

    Returns:
        (h, w, 3) uint8 RGB, the longer side at most 4096 px; a smaller slide in its own size.
    """
    drawn = nuclei.slide.thumbnail(LONGEST).copy()
    width, height = nuclei.slide.size
    across, down = drawn.shape[1] / width, drawn.shape[0] / height
    for _, part in nuclei.parts():
        for box, mask in zip(part.boxes, part.masks(), strict=True):
            rows, columns = np.nonzero(mask & ~binary_erosion(mask))
            rows = ((rows + box[1]) * down).astype(np.int64)
            columns = ((columns + box[0]) * across).astype(np.int64)
            drawn[rows, columns] = PREDICTED_COLOR
    return drawn
