"""Where tiles are cut, so that annotated area fills them and every point lies in one of them.

Legend: N: number of points of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from selfsam_d2.data.point_datasets.annotated_area import EDGE, polygons_of, spacing_of

__all__ = ["MIN_SIDE", "Tile", "plan_tiles"]

# A training crop is 224 px; less tissue than this around it would be mirrored.
MIN_SIDE = 256
_Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """A window of an image.

    Attributes:
        box: x0, y0, x1, y1, px; x1 and y1 are just outside.
        area: what of it was annotated and belongs to this tile, px of the image.
        points: indices of the points of this tile.
    """

    box: _Box
    area: BaseGeometry
    points: npt.NDArray[np.intp]


def plan_tiles(
    area: BaseGeometry,
    points: npt.NDArray[np.float64],
    size: tuple[int, int],
    tile: int,
    *,
    keep_empty: bool,
) -> list[Tile]:
    """Cover the annotated area with tiles.

    A connected part that is larger than a tile is cut into a grid of equal tiles; smaller ones that
    fit into one tile share it. Each point belongs to the tile of its pixel (or of the nearest
    annotated part), each annotated pixel to one tile at most: windows may overlap, but what belongs
    to another tile counts as not annotated, and so does the part of a nucleus that reaches across
    a seam from the tile that has its point (within 0.75 s of that point, and not as near to a point
    of this tile; s: :func:`~selfsam_d2.data.point_datasets.annotated_area.spacing_of`).

    Args:
        area: annotated area inside the image.
        points: (N, 2) xy inside or next to ``area``, px.
        size: (height, width) of the image, px.
        tile: longest side of a tile, px.
        keep_empty: also tiles without a point, if they are worth it: they teach background.

    Returns:
        tiles of at least :data:`MIN_SIDE` (or ``tile``, or the image) and at most ``tile`` px.
    """
    tiles = []
    smallest, reach = min(MIN_SIDE, tile), EDGE * spacing_of(points)
    for window, piece, indices in _pieces(area, points, size, tile):
        if not len(indices) and not (keep_empty and piece.area > (smallest / 2) ** 2):
            continue
        x0, y0, x1, y1 = _whole_pixels(piece, points[indices], window)
        columns = _grown(x0, x1, smallest, size[1])
        rows = _grown(y0, y1, smallest, size[0])
        box = (columns[0], rows[0], columns[1], rows[1])
        tiles.append(Tile(box, _without_others(piece, points, indices, reach), indices))
    return tiles


def _without_others(
    piece: BaseGeometry, points: npt.NDArray[np.float64], own: npt.NDArray[np.intp], reach: float
) -> BaseGeometry:
    """A piece less the discs around points of other tiles, where no disc of an own point lies."""
    positions = shapely.points(points)
    near = shapely.dwithin(positions, piece, reach)
    near[own] = False
    if not near.any():
        return piece
    taken, kept = (
        shapely.union_all(shapely.buffer(chosen, reach, quad_segs=4))
        for chosen in (positions[near], positions[own])
    )
    return shapely.union_all(polygons_of(piece.difference(taken.difference(kept))))


def _pieces(
    area: BaseGeometry, points: npt.NDArray[np.float64], size: tuple[int, int], tile: int
) -> Iterator[tuple[_Box, BaseGeometry, npt.NDArray[np.intp]]]:
    """Window, annotated piece and indices of points, one after the other."""
    image = (0, 0, size[1], size[0])
    parts = np.array(polygons_of(area), dtype=object)
    if not len(parts):
        return
    bounds = shapely.bounds(parts)
    order = np.lexsort((bounds[:, 0], bounds[:, 1]))
    parts = parts[order]
    owner = np.zeros(len(points), dtype=np.intp)
    inputs, nearest = shapely.STRtree(parts).query_nearest(
        shapely.points(points), all_matches=False
    )
    owner[inputs] = nearest
    boxes = np.array(
        [_whole_pixels(part, points[owner == index], image) for index, part in enumerate(parts)]
    )
    free = np.ones(len(parts), dtype=bool)
    for index, part in enumerate(parts):
        if not free[index]:
            continue
        x0, y0, x1, y1 = boxes[index].tolist()
        if max(x1 - x0, y1 - y0) > tile:
            free[index] = False
            yield from _cells(part, (x0, y0, x1, y1), points, np.flatnonzero(owner == index), tile)
            continue
        left = int(np.clip((x0 + x1 - tile) // 2, 0, max(size[1] - tile, 0)))
        top = min(y0, max(size[0] - tile, 0))
        fits = (boxes[:, :2] >= (left, top)).all(axis=1)
        fits &= (boxes[:, 2:] <= (left + tile, top + tile)).all(axis=1)
        chosen = np.flatnonzero(fits & free)
        free[chosen] = False
        yield image, shapely.union_all(parts[chosen]), np.flatnonzero(np.isin(owner, chosen))


def _cells(
    part: BaseGeometry,
    box: _Box,
    points: npt.NDArray[np.float64],
    indices: npt.NDArray[np.intp],
    tile: int,
) -> Iterator[tuple[_Box, BaseGeometry, npt.NDArray[np.intp]]]:
    """Cut one part into a grid of equal cells of at most ``tile`` px."""
    edges = [
        np.linspace(box[axis], box[axis + 2], -(-(box[axis + 2] - box[axis]) // tile) + 1)
        .round()
        .astype(int)
        for axis in (0, 1)
    ]
    column, row = (
        np.searchsorted(edges[axis][1:-1], points[indices, axis], side="right") for axis in (0, 1)
    )
    for j, i in product(range(len(edges[1]) - 1), range(len(edges[0]) - 1)):
        cell = (int(edges[0][i]), int(edges[1][j]), int(edges[0][i + 1]), int(edges[1][j + 1]))
        piece = shapely.union_all(polygons_of(part.intersection(shapely.box(*cell))))
        yield cell, piece, indices[(column == i) & (row == j)]


def _whole_pixels(piece: BaseGeometry, points: npt.NDArray[np.float64], window: _Box) -> _Box:
    """The smallest box of whole pixels with the piece and the points, inside a window."""
    bounds = np.reshape(() if piece.is_empty else piece.bounds, (-1, 2))
    starts = np.floor(np.concatenate([points, bounds[:1]]).min(axis=0))
    # A point on the right border of the area lies in the next pixel.
    stops = np.concatenate([np.floor(points) + 1, np.ceil(bounds[1:])]).max(axis=0)
    x0, y0 = np.maximum(starts, window[:2]).astype(int).tolist()
    x1, y1 = np.minimum(stops, window[2:]).astype(int).tolist()
    return x0, y0, x1, y1


def _grown(start: int, stop: int, smallest: int, limit: int) -> tuple[int, int]:
    """At least ``smallest`` px long, if the image of ``limit`` px is."""
    length = min(max(stop - start, smallest), limit)
    start = min(max(start - (length - (stop - start)) // 2, 0), limit - length)
    return start, start + length
