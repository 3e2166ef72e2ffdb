"""Read regions of whole slides, whatever library knows their format."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsam_d2.data.images import image_size
from selfsam_d2.errors import InputError, UnreadableImageError, first_words
from selfsam_d2.structures.image_files import (
    DECODE_ERRORS,
    decode_problem,
    opened_tiff,
    quiet_decoders,
)

__all__ = ["SLIDE_SUFFIXES", "TIFF_SUFFIXES", "Slide", "as_rgb", "is_slide"]

# Formats of whole slides that are nothing else; a TIFF may be either.
SLIDE_SUFFIXES = frozenset(
    (
        *(".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".qptiff"),
        *(".scn", ".svs", ".svslide", ".vms", ".vmu"),
    )
)
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
# Px above which an image is predicted tile by tile: of each, a prediction holds some 80 bytes.
LARGE = 4096 * 4096
BLOCK = 4096  # px, side of what is read at once of a level
WHITE = 255


class Slide(ABC):
    """A slide of 8-bit RGB, level 0 in full resolution, others smaller.

    Attributes:
        path: of its file.
        levels: (width, height) of each level, px.
        microns_per_pixel: of level 0; None: unknown.
        series: what the files of a slide have in common; None: the slide is one file.
    """

    path: Path
    levels: tuple[tuple[int, int], ...]
    microns_per_pixel: float | None
    series: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0, px."""
        return self.levels[0]

    @abstractmethod
    def _read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """(height, width, 3 or 4) uint8 of a level, in its px; the region lies inside."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_region(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a region of level 0.

        Args:
            x: of its upper left corner, px.
            y: the same.
            width: px; the region lies inside of the slide.
            height: px.

        Returns:
            (height, width, 3) uint8 RGB; what is transparent is white.

        Raises:
            InputError: it cannot be decoded, or is not 8-bit RGB.
        """
        return self._decoded(0, x, y, width, height)

    def _decoded(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        try:
            with quiet_decoders():
                pixels = self._read(level, x, y, width, height)
        except DECODE_ERRORS as error:
            damaged = (
                f"cannot be decoded at x {x}, y {y} of level {level} ({first_words(error)}); "
                "copy or export it again"
            )
            raise InputError(self.path, decode_problem(error, damaged)) from error
        return as_rgb(self.path, pixels)

    def thumbnail(self, longest: int) -> NDArray[np.uint8]:
        """The slide made small, from the level that suits.

        A pixel is the mean of those of the level whose middle lies in it.

        Args:
            longest: its longer side at most, px; a smaller slide is not enlarged.

        Returns:
            (h, w, 3) uint8 RGB.

        Raises:
            InputError: as :meth:`read_region`.
        """
        width, height = self.size
        scale = max(1.0, max(width, height) / longest)
        out_width, out_height = (max(1, round(side / scale)) for side in (width, height))
        level = max(
            number
            for number, (wide, _) in enumerate(self.levels)
            if number == 0 or wide >= out_width
        )
        level_width, level_height = self.levels[level]
        across, down = level_width / out_width, level_height / out_height
        small = np.empty((out_height, out_width, 3), dtype=np.uint8)
        step_y, step_x = (max(1, int(BLOCK / each)) for each in (down, across))
        for top in range(0, out_height, step_y):
            bottom = min(top + step_y, out_height)
            for left in range(0, out_width, step_x):
                right = min(left + step_x, out_width)
                box = (left * across, top * down, right * across, bottom * down)
                small[top:bottom, left:right] = self._shrunk(level, box, right - left, bottom - top)
        return small

    def _shrunk(
        self, level: int, box: tuple[float, float, float, float], width: int, height: int
    ) -> NDArray[np.uint8]:
        """A box of a level, its edges anywhere within pixels, as width x height px."""
        x, y = int(box[0]), int(box[1])
        level_width, level_height = self.levels[level]
        right, bottom = min(math.ceil(box[2]), level_width), min(math.ceil(box[3]), level_height)
        pixels = Image.fromarray(self._decoded(level, x, y, right - x, bottom - y))
        inner = (box[0] - x, box[1] - y, min(box[2], right) - x, min(box[3], bottom) - y)
        return np.asarray(pixels.resize((width, height), Image.Resampling.BOX, box=inner))


def as_rgb(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Check pixels and lay transparent ones on white.

    Args:
        path: of the slide, for messages.
        pixels: (H, W, 3) or (H, W, 4) uint8, the fourth channel opacity.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise InputError(
            path,
            f"pixels of {pixels.shape[2:] or 1} x {pixels.dtype}; an 8-bit RGB slide is needed",
        )
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    opacity = pixels[..., 3:]
    if (opacity == WHITE).all():
        return np.ascontiguousarray(pixels[..., :3])
    share = opacity.astype(np.float32) / WHITE
    return np.rint(pixels[..., :3] * share + WHITE * (1 - share)).astype(np.uint8)


def is_slide(path: Path) -> bool:
    """Whether a file is to be read region by region: slides, and images above 16 million px.

    One that cannot be read is not: reading it as an image says what is wrong.
    """
    suffix = path.suffix.lower()
    if suffix in SLIDE_SUFFIXES:
        return True
    if suffix not in TIFF_SUFFIXES:
        return _image_pixels(path) > LARGE
    try:
        with quiet_decoders(), opened_tiff(path) as tiff:
            page = tiff.series[0].keyframe
            return bool(page.imagewidth * page.imagelength > LARGE)
    except DECODE_ERRORS:
        return False


def _image_pixels(path: Path) -> int:
    """Px of a PNG or JPEG by its header, 0 where it cannot be used."""
    try:
        height, width = image_size(path)
    except UnreadableImageError:
        return 0
    return height * width
