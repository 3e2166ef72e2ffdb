"""Where two tiles saw the same nucleus, one of them keeps it.

Legend: N: nuclei of all tiles; C: those near another tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from selfsam_d2.slides.grid import Tile
from selfsam_d2.slides.nuclei import TileNuclei
from selfsam_d2.slides.store import TileStore

__all__ = ["Settled", "settle"]

# Nuclei of two tiles that share more than this of the smaller one are one; those that share less
# are neighbours that the tiles part otherwise, and the one that ranks below loses these pixels.
SHARE = 0.25


@dataclass(frozen=True)
class Settled:
    """What is left of the nuclei of each tile, in the order of the tiles.

    Attributes:
        kept: for each tile (N,) bool.
        trimmed: for each tile, index of a nucleus -> its mask without what it lost.
        reach: (tiles, 4), box that holds the nuclei that are kept; all 0 for a tile without one.
    """

    kept: list[NDArray[np.bool_]]
    trimmed: list[dict[int, NDArray[np.bool_]]]
    reach: NDArray[np.int64]


@dataclass(frozen=True)
class _Candidates:
    """Nuclei near another tile: tile and index in it, box, mask, and rank (0 goes first)."""

    tiles: NDArray[np.int64]
    indices: NDArray[np.int64]
    boxes: NDArray[np.int64]
    masks: list[NDArray[np.bool_]]
    ranks: NDArray[np.int64]


def settle(store: TileStore, tiles: Sequence[Tile]) -> Settled:
    """Choose between nuclei of different tiles that overlap.

    First goes what is not cut by the border of its tile, then what has its centroid in the core
    of its own tile, then the larger; the rest is decided by the score and the place in the grid.
    So the outcome does not depend on the order in which the tiles were done.

    Memory grows with the nuclei, by some 250 bytes for each: the boxes of all are held, and the
    masks of those near another tile, every ninth where tiles are of 2,048 px.

    Args:
        store: holds all of ``tiles``.
        tiles: of the slide, in the order of the grid.
    """
    boxes = [store.read(tile).boxes for tile in tiles]
    hulls = np.array([_hull(each) for each in boxes], dtype=np.int64).reshape(-1, 4)
    found = _candidates(store, tiles, boxes, hulls)
    kept = [np.ones(len(each), dtype=np.bool_) for each in boxes]
    trimmed: list[dict[int, NDArray[np.bool_]]] = [{} for _ in tiles]
    better = _overlapping(found)
    alive = np.ones(len(found.tiles), dtype=np.bool_)
    for one in np.argsort(found.ranks).tolist():
        left = _without(found, one, [other for other in better[one] if alive[other]])
        tile, index = int(found.tiles[one]), int(found.indices[one])
        if left is None:
            alive[one] = kept[tile][index] = False
        elif left is not found.masks[one]:
            trimmed[tile][index] = left
    reach = [_hull(each[keep]) for each, keep in zip(boxes, kept, strict=True)]
    return Settled(kept, trimmed, np.array(reach, dtype=np.int64).reshape(-1, 4))


def _hull(boxes: NDArray[np.int64]) -> tuple[int, ...]:
    if not len(boxes):
        return (0, 0, 0, 0)
    return (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())


def _meet(boxes: NDArray[np.int64], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(((boxes[:, :2] < box[2:]) & (boxes[:, 2:] > box[:2])).all(axis=1))


def _candidates(
    store: TileStore,
    tiles: Sequence[Tile],
    boxes: list[NDArray[np.int64]],
    hulls: NDArray[np.int64],
) -> _Candidates:
    """Nuclei that reach to where another tile has some."""
    parts: list[TileNuclei] = []
    places: list[tuple[int, int]] = []
    for number, tile in enumerate(tiles):
        near = np.zeros(len(boxes[number]), dtype=np.bool_)
        for other in np.flatnonzero(_meet(hulls, hulls[number])):
            if other != number:
                near |= _meet(boxes[number], hulls[other])
        if near.any():
            parts.append(store.read(tile).select(near))
            places += [(number, index) for index in np.flatnonzero(near).tolist()]
    where = np.array(places, dtype=np.int64).reshape(-1, 2)
    masks = [mask for part in parts for mask in part.masks()]
    every = [np.zeros((0, 4), dtype=np.int64), *(part.boxes for part in parts)]
    return _Candidates(
        where[:, 0], where[:, 1], np.concatenate(every), masks, _ranks(parts, masks, where)
    )


def _ranks(
    parts: list[TileNuclei], masks: list[NDArray[np.bool_]], where: NDArray[np.int64]
) -> NDArray[np.int64]:
    if not parts:
        return np.zeros(0, dtype=np.int64)
    whole, in_core, scores = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("whole", "in_core", "scores")
    )
    areas = np.array([np.count_nonzero(mask) for mask in masks])
    # numpy sorts by the last key first.
    order = np.lexsort((where[:, 1], where[:, 0], -scores, -areas, ~in_core, ~whole))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _overlapping(found: _Candidates) -> list[list[int]]:
    """For each candidate those of other tiles that go before it and whose box meets its box."""
    better: list[list[int]] = [[] for _ in found.tiles]
    shapes = shapely.box(*found.boxes.T)
    for one, other in shapely.STRtree(shapes).query(shapes, predicate="intersects").T.tolist():
        if found.tiles[one] != found.tiles[other] and found.ranks[other] < found.ranks[one]:
            better[one].append(other)
    return better


def _without(found: _Candidates, one: int, others: list[int]) -> NDArray[np.bool_] | None:
    """The mask of a nucleus without those of others; None if it is one of them, or mostly so."""
    mask = found.masks[one]
    area = np.count_nonzero(mask)
    left = mask
    for other in others:
        shared, place = _shared(found, one, other)
        count = np.count_nonzero(shared)
        if count > SHARE * min(area, np.count_nonzero(found.masks[other])):
            return None
        if count:
            left = left.copy() if left is mask else left
            left[place] &= ~shared
    return left if area - np.count_nonzero(left) <= SHARE * area else None


def _shared(
    found: _Candidates, one: int, other: int
) -> tuple[NDArray[np.bool_], tuple[slice, slice]]:
    """Pixels that two nuclei share, and where these are in the mask of the first."""
    first, second = found.boxes[one], found.boxes[other]
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    high = np.maximum(low, high)  # boxes that only touch

    def window(box: NDArray[np.int64]) -> tuple[slice, slice]:
        (x0, y0), (x1, y1) = (low - box[:2]).tolist(), (high - box[:2]).tolist()
        return slice(y0, y1), slice(x0, x1)

    place = window(first)
    return found.masks[one][place] & found.masks[other][window(second)], place
