"""A PNG, a JPEG or a TIFF in strips as a slide, so that its nuclei are found tile by tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.data.images import image_size, read_image
from selfsam_d2.slides.microns import tiff_microns_per_pixel
from selfsam_d2.slides.reader import Slide

__all__ = ["DecodedImage"]


class DecodedImage(Slide):
    """An image that is decoded as a whole when the first region is read, and then kept.

    The image itself is the small part: 0.5 GB at 178 million px, where what a prediction holds for
    each of its px would take many times that.

    Args:
        path: PNG, JPEG or TIFF, of which the header is read here.

    Raises:
        UnreadableImageError: as :func:`selfsam_d2.data.images.image_size`; reading a region, as
            :func:`selfsam_d2.data.images.read_image`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        height, width = image_size(path)
        self.levels = ((width, height),)
        self.microns_per_pixel = tiff_microns_per_pixel(path)
        self._pixels: NDArray[np.uint8] | None = None

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        del level
        if self._pixels is None:
            self._pixels = read_image(self.path)
        return self._pixels[y : y + height, x : x + width]

    def close(self) -> None:
        self._pixels = None
