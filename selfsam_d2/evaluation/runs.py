"""Instance maps as runs: stretches of one id within a row, some fifty times fewer than pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["label_components", "run_starts"]

IntArray = NDArray[np.integer[Any]]


def run_starts(*maps: IntArray) -> NDArray[np.int64]:
    """Flat positions at which a row begins or at least one of the maps changes its id.

    Args:
        maps: (H, W) each, of one size.

    Returns:
        (R,) ascending; empty for maps without a pixel.
    """
    if maps[0].size == 0:
        return np.zeros(0, dtype=np.int64)
    change = np.zeros(maps[0].size, dtype=bool)
    change[:: maps[0].shape[1]] = True
    for each in maps:
        flat = each.ravel()
        change[1:] |= flat[1:] != flat[:-1]
    return np.flatnonzero(change)


def label_components(instance_map: IntArray) -> NDArray[np.int64]:
    """Number the connected parts of equal id, 8-neighbours touching, in reading order.

    The same as ``skimage.measure.label(instance_map, connectivity=2)``, from runs.

    Args:
        instance_map: (H, W), 0 background.

    Returns:
        (H, W), 0 background, 1 ... n.
    """
    starts = run_starts(instance_map)
    lengths = np.diff(starts, append=instance_map.size)
    ids = instance_map.ravel()[starts]
    nucleus = np.flatnonzero(ids)
    numbers = np.zeros(len(ids), dtype=np.int64)
    if len(nucleus):
        rows, first = np.divmod(starts[nucleus], instance_map.shape[1])
        # All rows on one line with a gap between them, so that nothing touches around an edge.
        pitch = instance_map.shape[1] + 1
        graph = _touching(rows * pitch + first, lengths[nucleus], ids[nucleus], pitch)
        # Numbered by their first run, which is in reading order.
        numbers[nucleus] = connected_components(graph, directed=False)[1] + 1
    return np.repeat(numbers, lengths).reshape(instance_map.shape)


def _touching(
    begin: NDArray[np.int64], lengths: NDArray[np.int64], ids: IntArray, pitch: int
) -> coo_array:
    """Which runs (n) touch a run of their id in the next row, corners included: (n, n)."""
    end = begin + lengths
    low = np.searchsorted(end, begin + pitch, side="left")
    high = np.searchsorted(begin, end + pitch, side="right")
    counts = np.maximum(high - low, 0)
    above = np.repeat(np.arange(len(begin)), counts)
    offset = np.arange(len(above)) - np.repeat(np.cumsum(counts) - counts, counts)
    below = low[above] + offset
    same = ids[above] == ids[below]
    pairs = (above[same], below[same])
    return coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(ids), len(ids)))
