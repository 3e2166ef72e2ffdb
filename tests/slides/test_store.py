"""Tiles on disk: whole or not there, and never those of other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsam_d2.errors import InputError
from selfsam_d2.slides.grid import tile_grid
from selfsam_d2.slides.nuclei import collect_nuclei
from selfsam_d2.slides.store import TileStore, overwrites, store_folder


@pytest.fixture
def nuclei(planted: Any, finder: Any) -> tuple[Any, Any]:
    (tile,) = tile_grid(60, 40, 64, 0)
    image = planted(60, 40, [(10, 10), (30, 20), (59, 39)])
    return tile, collect_nuclei(finder()(image), tile, (60, 40), 0)


def test_a_tile_comes_back_as_it_was(nuclei: Any, tmp_path: Path) -> None:
    tile, given = nuclei
    store = TileStore(tmp_path / "a", {"model": "m"})
    assert not store.has(tile)
    store.write(tile, given)
    assert store.has(tile)
    kept = store.read(tile)
    assert len(kept) == 3
    assert kept.arrays().keys() == given.arrays().keys()
    for name, values in kept.arrays().items():
        np.testing.assert_array_equal(values, given.arrays()[name])
    assert not list(store.folder.glob("*.part"))
    store.remove()
    assert not store.folder.exists()


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    folder = store_folder(tmp_path, "a")
    TileStore(folder, {"model": "m", "--tile": 64})
    TileStore(folder, {"model": "m", "--tile": 64})
    with pytest.raises(InputError, match=r"another --tile; .*--overwrite"):
        TileStore(folder, {"model": "m", "--tile": 65})
    assert not overwrites(tmp_path, "a")
    TileStore(folder, {"model": "m", "--tile": 65}, overwrite=True)
    assert overwrites(tmp_path, "a")
    (folder / "settings.json").write_text("{")
    with pytest.raises(InputError, match="damaged settings"):
        TileStore(folder, {})


def test_a_damaged_tile_is_done_again(nuclei: Any, tmp_path: Path) -> None:
    tile, given = nuclei
    store = TileStore(tmp_path / "a", {})
    store.write(tile, given)
    (path,) = store.folder.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert not store.has(tile)
    with pytest.raises(InputError, match="damaged"):
        store.read(tile)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        TileStore(tmp_path / "file" / "a", {})
