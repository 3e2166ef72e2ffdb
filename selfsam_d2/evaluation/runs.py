"""Instance maps as runs: stretches of one id within a row, some fifty times fewer than pixels.

Legend: R: number of runs; H, W: size of the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Runs", "find_runs"]

IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Runs:
    """The stretches of a row in which none of some maps changes its id, in reading order.

    Attributes:
        starts: (R,) flat positions of their first pixels, ascending.
        lengths: (R,) their pixels.
        ids: of each map (R,), its ids.
        width: W.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    ids: tuple[IntArray, ...]
    width: int

    def components(self, index: int) -> NDArray[np.int64]:
        """Number the connected parts of equal id of one map, 8-neighbours touching.

        The same as ``skimage.measure.label(map, connectivity=2)``, from runs.

        Args:
            index: of the map.

        Returns:
            (R,), 0 background, 1 ... n in reading order.
        """
        own = self.ids[index]
        begins = self.starts % max(self.width, 1) == 0
        begins[1:] |= own[1:] != own[:-1]
        first = np.flatnonzero(begins & (own > 0))
        numbers = np.zeros(len(own), dtype=np.int64)
        if len(first):
            # Runs that only the other maps cut apart are one.
            last = np.append(np.flatnonzero(begins)[1:], len(own))[np.cumsum(begins)[first] - 1] - 1
            rows, left = np.divmod(self.starts[first], self.width)
            lengths = self.starts[last] + self.lengths[last] - self.starts[first]
            # All rows on one line with a gap between them, so that nothing touches around an edge.
            pitch = self.width + 1
            graph = _touching(rows * pitch + left, lengths, own[first], pitch)
            # Numbered by their first run, which is in reading order.
            numbers[first] = connected_components(graph, directed=False)[1] + 1
            numbers = numbers[np.maximum.accumulate(np.where(begins, np.arange(len(own)), 0))]
        return numbers


def find_runs(*maps: IntArray) -> Runs:
    """Cut maps of one size into runs.

    Args:
        maps: (H, W) each.
    """
    height, width = maps[0].shape
    change = np.zeros(height * width, dtype=bool)
    if change.size:
        change[::width] = True
    for each in maps:
        flat = each.ravel()
        change[1:] |= flat[1:] != flat[:-1]
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=change.size)
    return Runs(starts, lengths, tuple(each.ravel()[starts] for each in maps), width)


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
    # connected_components of older versions of scipy knows 32 bits only.
    pairs = (above[same].astype(np.int32), below[same].astype(np.int32))
    return coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(ids), len(ids)))
