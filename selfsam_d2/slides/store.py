"""Finished tiles on disk, so that a stop loses one tile and memory holds a few."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.files import ARRAY_ERRORS, kept_arrays, parse_json, writing
from selfsam_d2.slides.grid import Tile
from selfsam_d2.slides.nuclei import TileNuclei

__all__ = ["SETTINGS", "TileStore", "remove_tiles", "store_folder"]

SETTINGS = "settings.json"


def store_folder(folder: Path, stem: str) -> Path:
    """The folder of the tiles of a slide, below that of its outputs."""
    return folder / f".{stem}.tiles"


def remove_tiles(folder: Path) -> None:
    """Remove a folder of tiles, if it is there.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(folder, f"cannot be removed ({error.strerror or error})") from error


class TileStore:
    """The nuclei of the tiles of one slide; each file is whole or not there.

    Args:
        folder: of this slide alone.
        settings: what the nuclei depend on: slide, model, grid; plain values for JSON.
        overwrite: throw away what is there; so are tiles without settings, as a kill leaves them
            while a folder is removed.

    Raises:
        InputError: the folder holds tiles of other settings.
        OutputError: it cannot be made or emptied.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.folder = folder
        try:
            if overwrite or not (folder / SETTINGS).exists():
                self.remove()
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / SETTINGS).exists():
                self._compare(settings)
            else:
                with writing(folder / SETTINGS, shared=True) as draft:
                    draft.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        except OSError as error:
            raise OutputError(folder, f"cannot be written ({error.strerror or error})") from error

    def _compare(self, settings: Mapping[str, Any]) -> None:
        try:
            kept = parse_json((self.folder / SETTINGS).read_text(encoding="utf-8"))
            if not isinstance(kept, dict):
                raise ValueError("not a mapping")
        except ValueError as error:
            raise InputError(
                self.folder, "has a damaged settings.json; remove the folder, or --overwrite"
            ) from error
        wanted = json.loads(json.dumps(settings))
        other = sorted(
            key for key in kept.keys() | wanted.keys() if kept.get(key) != wanted.get(key)
        )
        if other:
            raise InputError(
                self.folder,
                f"holds tiles of an unfinished run with another {', '.join(other)}; run it with "
                "the same, or remove the folder (--overwrite does)",
            )

    def _path(self, tile: Tile) -> Path:
        return self.folder / f"{tile.row:05}_{tile.column:05}.npz"

    def has(self, tile: Tile) -> bool:
        """Whether the tile is there and its file whole."""
        path = self._path(tile)
        return path.exists() and zipfile.is_zipfile(path)

    def write(self, tile: Tile, nuclei: TileNuclei) -> None:
        """Store a tile.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._path(tile)
        with writing(path, shared=True) as draft, draft.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **nuclei.arrays())

    def read(self, tile: Tile) -> TileNuclei:
        """The nuclei of a tile that is there.

        Raises:
            InputError: its file is damaged.
        """
        path = self._path(tile)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return TileNuclei.from_arrays(kept_arrays(arrays, arrays.files))
        except ARRAY_ERRORS as error:
            raise InputError(path, "damaged; remove this file and start again") from error

    def remove(self) -> None:
        """Remove all tiles, see :func:`remove_tiles`."""
        remove_tiles(self.folder)
