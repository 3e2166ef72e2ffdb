"""The label map of a slide: a tiled OME-TIFF with a pyramid, painted band by band."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from selfsam_d2.outputs.writers import TIFF_TILE, ome_metadata
from selfsam_d2.slides.nuclei import TileNuclei
from selfsam_d2.slides.result import SlideNuclei

__all__ = ["write_label_pyramid"]

SMALLEST_LEVEL = 1024  # px, longer side
BIG = 2**31  # bytes of uncompressed pixels from which offsets of 64 bits are used


def write_label_pyramid(nuclei: SlideNuclei, path: Path) -> None:
    """Write ids as 32 bits; each level takes every second pixel of the one before.

    Memory is that of one row of the file's tiles, 512 px high.

    Args:
        nuclei: of the slide.
        path: of the file, whatever its name.
    """
    width, height = nuclei.slide.size
    steps = [1]
    while max(width, height) / steps[-1] > SMALLEST_LEVEL:
        steps.append(2 * steps[-1])
    big = 4 * width * height > BIG
    with tifffile.TiffWriter(path, ome=True, bigtiff=big) as tiff:
        for step in steps:
            more = (
                {"subifds": len(steps) - 1, "metadata": ome_metadata(nuclei.microns_per_pixel)}
                if step == 1
                else {"subfiletype": 1}
            )
            tiff.write(
                _tiles(nuclei, step),
                shape=(-(-height // step), -(-width // step)),
                dtype=np.uint32,
                photometric="minisblack",
                tile=TIFF_TILE,
                compression="zlib",
                **more,
            )


def _tiles(nuclei: SlideNuclei, step: int) -> Iterator[NDArray[np.uint32]]:
    """The tiles of a level, row by row."""
    width, height = nuclei.slide.size
    rows, columns = TIFF_TILE
    bands = [(top, min(top + rows * step, height)) for top in range(0, height, rows * step)]
    for (top, bottom), parts in zip(bands, nuclei.parts_in_rows(bands), strict=True):
        band = np.zeros((-(-(bottom - top) // step), -(-width // step)), dtype=np.uint32)
        for first, part in parts:
            _paint(band, part, first, top, step)
        for left in range(0, band.shape[1], columns):
            tile = np.zeros(TIFF_TILE, dtype=np.uint32)
            piece = band[:, left : left + columns]
            tile[: piece.shape[0], : piece.shape[1]] = piece
            yield tile


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
