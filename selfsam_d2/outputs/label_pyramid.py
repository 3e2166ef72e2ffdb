"""A label map as a tiled OME-TIFF with a pyramid, of a map in memory or painted band by band."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["write_pyramid"]

TIFF_TILE = (512, 512)  # px, so that a viewer need not read all of a large map
SMALLEST_LEVEL = 1024  # px, longer side
BIG = 2**31  # bytes of uncompressed pixels from which offsets of 64 bits are used

Bands = Callable[[int, Sequence[tuple[int, int]]], Iterable[NDArray[np.integer[Any]]]]


def write_pyramid(
    path: Path, size: tuple[int, int], bands: Bands, microns_per_pixel: float | None
) -> None:
    """Write ids as 32 bits; each level takes every second pixel of the one before.

    Args:
        path: of the file, whatever its name.
        size: width and height of the map, px.
        bands: called for each level with its step and spans of rows of the map, first and behind
            the last, from top to bottom; gives for each span the pixels at multiples of the step,
            (ceil(rows / step), ceil(width / step)) ids, 0 background.
        microns_per_pixel: of the map; None: unknown.
    """
    width, height = size
    steps = [1]
    while max(width, height) / steps[-1] > SMALLEST_LEVEL:
        steps.append(2 * steps[-1])
    big = 4 * width * height > BIG
    with tifffile.TiffWriter(path, ome=True, bigtiff=big) as tiff:
        for step in steps:
            more = (
                {"subifds": len(steps) - 1, "metadata": _metadata(microns_per_pixel)}
                if step == 1
                else {"subfiletype": 1}
            )
            rows = TIFF_TILE[0] * step
            spans = [(top, min(top + rows, height)) for top in range(0, height, rows)]
            tiff.write(
                _tiles(bands(step, spans)),
                shape=(-(-height // step), -(-width // step)),
                dtype=np.uint32,
                photometric="minisblack",
                tile=TIFF_TILE,
                compression="zlib",
                **more,
            )


def _tiles(bands: Iterable[NDArray[np.integer[Any]]]) -> Iterator[NDArray[np.uint32]]:
    """The tiles of a level, row by row."""
    columns = TIFF_TILE[1]
    for band in bands:
        for left in range(0, band.shape[1], columns):
            tile = np.zeros(TIFF_TILE, dtype=np.uint32)
            piece = band[:, left : left + columns]
            tile[: piece.shape[0], : piece.shape[1]] = piece
            yield tile


def _metadata(microns_per_pixel: float | None) -> dict[str, str]:
    """What tifffile writes into the OME-XML; None: unknown."""
    metadata = {"axes": "YX"}
    if microns_per_pixel is not None:
        for axis in "XY":
            metadata[f"PhysicalSize{axis}"] = str(microns_per_pixel)
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    return metadata
