"""Pixels region by region: of an image that is read whole, or of a slide that never is.

This package knows no format of slides: whoever does gives a :class:`SlideFormats`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from selfsam_d2.data.images import read_image

__all__ = ["NO_SLIDES", "OpenSlide", "ReadRegion", "SlideFormats", "SlideHeader", "opened_regions"]

ReadRegion = Callable[[int, int, int, int], npt.NDArray[np.uint8]]


class OpenSlide(Protocol):
    """A slide that is open.

    Attributes:
        microns_per_pixel: um; None: unknown.
        series: what the files of a slide have in common; None: the slide is one file.
    """

    microns_per_pixel: float | None
    series: str | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""

    def read_region(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB from the upper left corner (x, y), inside the slide."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True)
class SlideHeader:
    """What is known of a slide before a pixel is read.

    Attributes:
        size: (height, width), px.
        microns_per_pixel: um; None: unknown.
        has_parts: whether other files of its folder belong to it.
    """

    size: tuple[int, int]
    microns_per_pixel: float | None
    has_parts: bool = False


def _says_nothing(_: Path) -> None:
    """No resolution."""


@dataclass(frozen=True)
class SlideFormats:
    """Which files are slides.

    Attributes:
        suffixes: of files that are nothing else, in lower case with the dot.
        open: the slide of a path, to be closed; None: it is an image that is read whole.
        image_microns: um per px that an image which is read whole states; None: none.
    """

    suffixes: frozenset[str]
    open: Callable[[Path], OpenSlide | None]
    image_microns: Callable[[Path], float | None] = _says_nothing

    def header(self, path: Path) -> SlideHeader | None:
        """The header of a slide; None: it is an image.

        Raises:
            InputError: it cannot be opened.
        """
        slide = self.open(path)
        if slide is None:
            return None
        width, height = slide.size
        header = SlideHeader((height, width), slide.microns_per_pixel, slide.series is not None)
        slide.close()
        return header


NO_SLIDES = SlideFormats(frozenset(), lambda _: None)


@contextmanager
def opened_regions(path: Path, formats: SlideFormats) -> Iterator[ReadRegion]:
    """A function (x, y, width, height) -> (height, width, 3) uint8 RGB, px.

    Args:
        path: an image, which is read at once, or a slide, of which only the regions are.
        formats: what opens slides.

    Raises:
        InputError: it cannot be read; also by the function.
    """
    slide = formats.open(path)
    if slide is None:
        pixels = read_image(path)
        yield lambda x, y, width, height: pixels[y : y + height, x : x + width]
        return
    try:
        yield slide.read_region
    finally:
        slide.close()
