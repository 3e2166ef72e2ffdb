"""The label map of a slide: a tiled OME-TIFF with a pyramid, painted band by band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.outputs.label_pyramid import write_pyramid
from selfsam_d2.slides.nuclei import TileNuclei
from selfsam_d2.slides.result import SlideNuclei

__all__ = ["write_label_pyramid"]


def write_label_pyramid(nuclei: SlideNuclei, path: Path) -> None:
    """Write ids as 32 bits; each level takes every second pixel of the one before.

    In memory are one row of the file's tiles, 2 kB per px of the slide's width, the nuclei of one
    row of the slide's tiles, and what :func:`selfsam_d2.slides.seams.settle` needs.

    Args:
        nuclei: of the slide.
        path: of the file, whatever its name.
    """
    write_pyramid(path, nuclei.slide.size, partial(_bands, nuclei), nuclei.microns_per_pixel)


def _bands(
    nuclei: SlideNuclei, step: int, spans: Sequence[tuple[int, int]]
) -> Iterator[NDArray[np.uint32]]:
    """The rows of a level, span by span."""
    width, _ = nuclei.slide.size
    for (top, bottom), parts in zip(spans, nuclei.parts_in_rows(spans), strict=True):
        band = np.zeros((-(-(bottom - top) // step), -(-width // step)), dtype=np.uint32)
        for first, part in parts:
            _paint(band, part, first, top, step)
        yield band


def _paint(band: NDArray[np.uint32], part: TileNuclei, first: int, top: int, step: int) -> None:
    """Draw the nuclei of a tile into rows of a level that begin at ``top`` px of level 0."""
    for row, mask in enumerate(part.masks()):
        x0, y0 = part.boxes[row, :2].tolist()
        # Pixels of the level are those of level 0 at multiples of the step.
        down, across = -(-(y0 - top) // step), -(-x0 // step)
        sample = mask[down * step + top - y0 :: step, across * step - x0 :: step]
        skipped = max(-down, 0)
        sample = sample[skipped : max(band.shape[0] - down, 0)]
        place = band[
            down + skipped : down + skipped + sample.shape[0], across : across + sample.shape[1]
        ]
        place[sample] = first + row
