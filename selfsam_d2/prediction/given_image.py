"""What a caller gives to be predicted, judged as a file is by ``selfsam_d2.data.images``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["require_microns", "rgb_pixels"]

PALETTES = frozenset({"P", "PA"})
COLORS = frozenset({"RGB", "RGBA", "RGBX"}) | PALETTES
REMEDY = "an 8-bit RGB image is needed, convert it"


def rgb_pixels(image: NDArray[np.uint8] | Image.Image) -> NDArray[np.uint8]:
    """The pixels of an image.

    Args:
        image: (H, W, 3) uint8 RGB with at least one pixel; or a PIL image of mode RGB, of RGBA or
            RGBX, whose fourth channel is dropped, or of P or PA with colours in its palette.

    Returns:
        (H, W, 3) uint8 RGB; an array itself, not a copy.

    Raises:
        ValueError: an array of another shape or type, an image of another mode, or a grey palette.
    """
    if isinstance(image, Image.Image):
        return _pixels_of(image)
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            "Expected argument `image` to be (H, W, 3) uint8 RGB, but got "
            f"{pixels.shape} {pixels.dtype}."
        )
    return pixels


def _pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode not in COLORS:
        raise ValueError(f"The argument `image` has mode {image.mode}: {REMEDY}.")
    pixels = np.asarray(image.convert("RGB"))
    if image.mode in PALETTES and (pixels == pixels[..., :1]).all():
        raise ValueError(f"The argument `image` has mode {image.mode} without colour: {REMEDY}.")
    return pixels


def require_microns(microns_per_pixel: float | None) -> None:
    """Check the resolution of an image.

    Args:
        microns_per_pixel: µm per px; None: unknown.

    Raises:
        ValueError: it is not a finite number above 0.
    """
    if microns_per_pixel is not None and not 0 < microns_per_pixel < math.inf:
        raise ValueError(
            "Expected argument `microns_per_pixel` to be a number above 0, such as 0.25, but got "
            f"{microns_per_pixel}."
        )
