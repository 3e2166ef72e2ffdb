"""The nuclei of a slide as a stream: tile after tile, numbered from 1 on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfsam_d2.slides.grid import Tile
from selfsam_d2.slides.nuclei import TileNuclei, table_columns
from selfsam_d2.slides.reader import Slide
from selfsam_d2.slides.seams import Settled, settle
from selfsam_d2.slides.store import TileStore

__all__ = ["SlideNuclei"]


@dataclass(frozen=True)
class SlideNuclei:
    """The nuclei of all tiles, each once.

    Attributes:
        slide: that they are of.
        store: holds all of ``tiles``.
        tiles: in the order of the grid.
        microns_per_pixel: of level 0; None: unknown.
    """

    slide: Slide
    store: TileStore
    tiles: Sequence[Tile]
    microns_per_pixel: float | None = None

    @cached_property
    def _settled(self) -> Settled:
        return settle(self.store, self.tiles)

    @cached_property
    def _first_ids(self) -> NDArray[np.int64]:
        """Id of the first nucleus of each tile, and the number of all nuclei + 1."""
        return 1 + np.append(0, np.cumsum([kept.sum() for kept in self._settled.kept], dtype=int))

    def __len__(self) -> int:
        return int(self._first_ids[-1]) - 1

    @property
    def name(self) -> str:
        """Name of the slide's file."""
        return self.slide.path.name

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the tables."""
        return table_columns(self.microns_per_pixel)

    def parts(self) -> Iterator[tuple[int, TileNuclei]]:
        """The nuclei of one tile after the other, each with the id of its first nucleus."""
        for number, kept in enumerate(self._settled.kept):
            if kept.any():
                yield int(self._first_ids[number]), self._part(number)

    def parts_in_rows(
        self, bands: Sequence[tuple[int, int]]
    ) -> Iterator[Iterator[tuple[int, TileNuclei]]]:
        """For bands from top to bottom the tiles that have a nucleus in them, each read once.

        A tile is in memory from its first band to its last one, and one within a band as long as
        it is looked at: what is held is a row of the grid, however high the bands are.

        Args:
            bands: first row and the one behind the last, px; ascending.

        Yields:
            for each band the nuclei of these tiles one after the other, with the ids as in
            :meth:`parts`; to be gone through before the next band.
        """
        held: dict[int, TileNuclei] = {}
        for top, bottom in bands:
            yield self._parts_between(top, bottom, held)

    def _parts_between(
        self, top: int, bottom: int, held: dict[int, TileNuclei]
    ) -> Iterator[tuple[int, TileNuclei]]:
        """The tiles of a band; ``held`` are those that reach into it from the one before."""
        reach = self._settled.reach
        for number in np.flatnonzero((reach[:, 1] < bottom) & (reach[:, 3] > top)).tolist():
            part = held.pop(number, None)
            if part is None:
                part = self._part(number)
            if reach[number, 3] > bottom:
                held[number] = part
            yield int(self._first_ids[number]), part

    def _part(self, number: int) -> TileNuclei:
        nuclei = self.store.read(self.tiles[number])
        changed = nuclei.with_masks(self._settled.trimmed[number], self.microns_per_pixel)
        return changed.select(self._settled.kept[number])
