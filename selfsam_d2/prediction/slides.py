"""Whole slides: tile after tile into a store, then the files of the slide."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.utils import comm

from selfsam_d2.errors import InputError
from selfsam_d2.prediction.options import Outputs, Predict, SourceFile, say, warn
from selfsam_d2.prediction.resolution import scale_between, unknown_resolution
from selfsam_d2.prediction.together import together
from selfsam_d2.slides.backends import open_slide
from selfsam_d2.slides.grid import Tile, tile_grid
from selfsam_d2.slides.nuclei import collect_nuclei
from selfsam_d2.slides.reader import Slide
from selfsam_d2.slides.result import SlideNuclei
from selfsam_d2.slides.store import TileStore, store_folder
from selfsam_d2.slides.tissue import THUMBNAIL, tiles_with_tissue, tissue_mask
from selfsam_d2.slides.writers import refusal, write_slide_output

__all__ = ["SlideFile"]


@dataclass(frozen=True)
class _Cut:
    """An open slide and how it is cut; ``settings`` is what its nuclei depend on."""

    slide: Slide
    microns_per_pixel: float | None
    grid: int
    tiles: Sequence[Tile]
    slack: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class SlideFile(SourceFile):
    """A slide that is read region by region."""

    @property
    def shared(self) -> bool:
        """All processes work on it."""
        return True

    def parts(self, predictor: Predict, outputs: Outputs) -> int:
        """Tiles for each process, with those that may turn out to have no tissue."""
        try:
            with open_slide(self.path) as slide:
                side, margin, _ = outputs.tiling.at(self._scale(predictor, slide))
                return _share(len(tile_grid(*slide.size, side, margin)))
        except InputError:
            return 1  # it is reported at its turn

    def process(
        self, predictor: Predict, formats: Sequence[str], outputs: Outputs, bar: Any
    ) -> int:
        """Predict the tiles that are not in the store, and write the files.

        Tiles are shared out among the processes, where there are several; the first one writes.

        Args:
            predictor: as a ``NucleiPredictor``.
            formats: to write.
            outputs: where to.
            bar: counts tiles, at first those of :meth:`parts`.

        Returns:
            number of nuclei; 0 in all processes but the first.

        Raises:
            InputError: the slide cannot be read, a file cannot be written, or a format cannot hold
                the slide, which is said when the others are written.
        """
        started = time.monotonic()
        size = together(self.path, self._size)
        refused = {name: why for name in formats if (why := refusal(name, *size))}
        held = [name for name in formats if name not in refused]
        nuclei = 0
        if held:
            cut = together(self.path, lambda: self._cut(predictor, outputs))
            with cut.slide:
                store = self._store(cut, outputs)
                together(self.path, lambda: self._predict(predictor, cut, store, bar))
                nuclei = together(
                    self.path, lambda: self._finish(cut, store, held, outputs, started)
                )
        for name, why in refused.items():
            raise InputError(self.path, f"not written as {name}: {why}")
        return nuclei

    def _size(self) -> tuple[int, int]:
        with open_slide(self.path) as slide:
            return slide.size

    def _scale(self, predictor: Predict, slide: Slide) -> float:
        microns = self.microns_per_pixel or slide.microns_per_pixel
        return scale_between(predictor.microns_per_pixel, microns)

    def _cut(self, predictor: Predict, outputs: Outputs) -> _Cut:
        slide = open_slide(self.path)
        microns = self.microns_per_pixel or slide.microns_per_pixel
        scale = self._scale(predictor, slide)
        side, margin, slack = outputs.tiling.at(scale)
        grid = tile_grid(*slide.size, side, margin)
        tiles = grid
        if outputs.tiling.tissue_only:
            tiles = tiles_with_tissue(grid, tissue_mask(slide.thumbnail(THUMBNAIL)), *slide.size)
        if comm.is_main_process():
            self._warn(unknown_resolution(predictor.microns_per_pixel, microns))
            self._warn(None if tiles else "no tissue found; --no-tissue-mask predicts all of it")
        state = self.path.stat()
        settings = {
            "slide": [self.path.name, state.st_size, state.st_mtime_ns, *slide.size],
            "model": predictor.fingerprint,
            "µm/px": [predictor.microns_per_pixel, microns],
            "--tile": side,
            "--tile-margin": margin,
            "--no-tissue-mask": not outputs.tiling.tissue_only,
        }
        return _Cut(slide, microns, len(grid), tiles, slack, settings)

    def _warn(self, problem: str | None) -> None:
        if problem is not None:
            warn(self.path, problem)

    def _store(self, cut: _Cut, outputs: Outputs) -> TileStore:
        """The first process makes the store, the others find it."""
        folder = store_folder(outputs.folder, self.stem)

        def make() -> TileStore | None:
            if not comm.is_main_process():
                return None
            return TileStore(folder, cut.settings, overwrite=outputs.overwrite)

        made = together(self.path, make)
        return together(self.path, lambda: made or TileStore(folder, cut.settings))

    def _predict(self, predictor: Predict, cut: _Cut, store: TileStore, bar: Any) -> None:
        """This process's share of the tiles that are not there."""
        missing = together(self.path, lambda: [tile for tile in cut.tiles if not store.has(tile)])
        own = missing[comm.get_rank() :: comm.get_world_size()]
        bar.total += len(own) - _share(cut.grid)
        bar.refresh()
        for tile in own:
            left, top, right, bottom = tile.region
            found = predictor(
                cut.slide.read_region(left, top, right - left, bottom - top),
                name=self.path.name,
                microns_per_pixel=cut.microns_per_pixel,
            )
            nuclei = collect_nuclei(found, tile, cut.slide.size, cut.slack, cut.microns_per_pixel)
            store.write(tile, nuclei)
            bar.update()

    def _finish(
        self,
        cut: _Cut,
        store: TileStore,
        formats: Sequence[str],
        outputs: Outputs,
        started: float,
    ) -> int:
        if not comm.is_main_process():
            return 0
        nuclei = SlideNuclei(cut.slide, store, cut.tiles, cut.microns_per_pixel)
        for name in formats:
            write_slide_output(name, nuclei, outputs.folder, self.stem, outputs.class_name)
        store.remove()
        seconds = time.monotonic() - started
        say(
            f"{self.path}: {len(nuclei)} nuclei in {len(cut.tiles)} of {cut.grid} tiles, "
            f"{seconds:.1f} s",
            sys.stdout,
        )
        return len(nuclei)


def _share(tiles: int) -> int:
    return -(-tiles // comm.get_world_size())
