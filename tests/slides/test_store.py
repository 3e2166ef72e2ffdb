"""Tiles on disk: whole or not there, and never those of other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfsam_d2.errors import InputError, OutputError
from selfsam_d2.slides.grid import tile_grid
from selfsam_d2.slides.nuclei import collect_nuclei
from selfsam_d2.slides.store import TileStore, remove_tiles, store_folder


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
    TileStore(folder, {"model": "m", "--tile": 65}, overwrite=True)
    TileStore(folder, {"model": "m", "--tile": 65})
    (folder / "settings.json").write_text("{")
    with pytest.raises(InputError, match="damaged settings"):
        TileStore(folder, {})


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_removal_that_was_killed_leaves_no_tile_of_another_model(
    overwrite: bool, nuclei: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile, given = nuclei
    store = TileStore(tmp_path / "a", {"model": "old"})
    store.write(tile, given)

    def killed(folder: Path) -> None:
        (folder / "settings.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            store.remove()
    assert store.has(tile)
    assert not TileStore(tmp_path / "a", {"model": "new"}, overwrite=overwrite).has(tile)
    assert [path.name for path in store.folder.iterdir()] == ["settings.json"]


def test_tiles_that_cannot_be_removed_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refused)
    remove_tiles(tmp_path / "none")
    with pytest.raises(OutputError, match=r"a: cannot be removed \(Permission denied\)"):
        TileStore(tmp_path / "a", {}).remove()


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
