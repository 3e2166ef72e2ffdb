"""How a slide is cut into tiles: cores that share it out, each read with a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Tile", "tile_grid"]

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """A tile of a slide; boxes are (x0, y0, x1, y1) in px of level 0, half-open.

    Attributes:
        row: of the grid.
        column: of the grid.
        core: what the tile is there for.
        region: what is read and predicted: the core and a margin, within the slide.
    """

    row: int
    column: int
    core: Box
    region: Box


def tile_grid(width: int, height: int, side: int, margin: int) -> list[Tile]:
    """Tiles whose cores cover a slide without gap or overlap, row by row.

    Cores of a row are of one size but for a px, so that none is a sliver.

    Args:
        width: of the slide, px.
        height: of the slide, px.
        side: of a core at most, px.
        margin: around a core, px.

    Raises:
        ValueError: a size is below 1 or the margin negative.
    """
    if min(width, height, side) < 1 or margin < 0:
        raise ValueError(
            f"Expected sizes of at least 1 and a margin of at least 0, but got {width} x {height}, "
            f"side {side}, margin {margin}."
        )
    columns, rows = _edges(width, side), _edges(height, side)
    tiles = []
    for row, (top, bottom) in enumerate(pairwise(rows)):
        for column, (left, right) in enumerate(pairwise(columns)):
            region = (
                max(left - margin, 0),
                max(top - margin, 0),
                min(right + margin, width),
                min(bottom + margin, height),
            )
            tiles.append(Tile(row, column, (left, top, right, bottom), region))
    return tiles


def _edges(length: int, side: int) -> list[int]:
    count = math.ceil(length / side)
    return [number * length // count for number in range(count + 1)]
