"""What this package keeps on disk and reads again, itself or in a later run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from selfsam_d2.data.base_cache import BaseCache, pack_masks
from selfsam_d2.data.label_store import LABEL_NAMES, LabelStore
from selfsam_d2.data.transforms import AffineCropTransform
from selfsam_d2.engine.named_datasets import DATASETS_FILE, kept_datasets
from selfsam_d2.errors import SelfSAMError
from selfsam_d2.prediction.notes import read_note
from selfsam_d2.slides.grid import tile_grid
from selfsam_d2.slides.nuclei import TileNuclei
from selfsam_d2.slides.store import SETTINGS, TileStore
from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.crop_view_files import load_views, save_views
from tests.fuzz.reader import Reader

SIDE = 8
RNG = np.random.default_rng(0)
RECORD = {"file_name": "a.png", "epoch": 0}
POINTS = RNG.uniform(1, SIDE - 1, (2, 2))
MASKS = RNG.uniform(0.1, 1, (len(POINTS), SIDE, SIDE)).astype(np.float32)
MAPS = {name: RNG.integers(-1, 5, (SIDE, SIDE), np.int32) for name in LABEL_NAMES}
(TILE,) = tile_grid(SIDE, SIDE, SIDE, 0)
NUCLEI = TileNuclei(
    boxes=np.array([[0, 0, 3, 3], [4, 4, 6, 7]]),
    bits=np.array([255, 128, 252], np.uint8),
    scores=np.ones(2, np.float32),
    whole=np.ones(2, np.bool_),
    in_core=np.ones(2, np.bool_),
    table={"area_px": np.array([9.0, 6.0])},
)
SETTINGS_OF_TILES = {"model": "m", "--tile": 64}


def _cache(folder: Path) -> BaseCache:
    cache = BaseCache(folder)
    cache.keys = {RECORD["file_name"]: "key"}
    return cache


def _write_masks(folder: Path) -> None:
    packed = pack_masks([((0, 0), np.arange(len(POINTS)), MASKS)], (SIDE, SIDE))
    _cache(folder).write(RECORD, packed)


def _read_masks(path: Path) -> None:
    """A file of the two is damaged; a training makes them anew unless they are whole."""
    for name, content in MASK_FILES.items():
        beside = path.with_name(name)
        if not beside.exists():
            beside.write_bytes(content)
    cache = _cache(path.parent)
    whole = cache.holds(RECORD)
    crop = AffineCropTransform(np.eye(3)[:2], (SIDE, SIDE))
    try:
        cache.crop_masks(RECORD, POINTS, np.arange(len(POINTS)), crop)
    except SelfSAMError:
        assert not whole
        raise


def _written(write: Callable[[Path], Any]) -> dict[str, bytes]:
    """Name below the folder -> content of what is written into it."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _write_labels(folder: Path) -> None:
    LabelStore(folder).write(RECORD, 0, MAPS)


def _read_labels(path: Path) -> None:
    store = LabelStore(path.parents[1])
    store.finish(0)
    store.read(RECORD)


def _write_views(folder: Path) -> None:
    """Arrays of the side of a crop for all but name and alpha."""
    map_ = np.zeros((SIDE, SIDE))
    flags, ids = map_.astype(np.bool_), map_.astype(np.int64)
    view = CropView(
        name="a",
        alpha=0.5,
        image=np.zeros((SIDE, SIDE, 3), np.uint8),
        points=POINTS.astype(np.float32),
        base=map_.astype(np.float32),
        adapted=map_.astype(np.float32),
        prompt_label=ids,
        instance_label=ids,
        outside=flags,
        foreground=map_.astype(np.float32),
        instance_map=ids.astype(np.int32),
    )
    save_views([view], folder / "views.npz")


def _write_tile(folder: Path) -> None:
    TileStore(folder, SETTINGS_OF_TILES).write(TILE, NUCLEI)


def _read_tile(path: Path) -> None:
    if not (path.parent / SETTINGS).exists():
        (path.parent / SETTINGS).write_bytes(TILE_FILES[SETTINGS])
    store = TileStore(path.parent, SETTINGS_OF_TILES)
    if store.has(TILE) or path.read_bytes() == TILE_FILES[path.name]:
        store.read(TILE).masks()


def _read_settings(path: Path) -> None:
    TileStore(path.parent, SETTINGS_OF_TILES)


MASK_FILES = _written(_write_masks)
MASK_INDEX, MASK_VALUES = sorted(MASK_FILES, key=lambda name: name.endswith(".npy"))
((LABELS_NAME, LABELS_CONTENT),) = _written(_write_labels).items()
TILE_FILES = _written(_write_tile)
TILE_NAME = next(name for name in TILE_FILES if name != SETTINGS)
DATASETS = {"a": ["/etc/a.json", "/etc/images"], "b": ["b.json", "images"]}

OWN_FILES = {
    "base cache, index": Reader(MASK_INDEX, MASK_FILES[MASK_INDEX], _read_masks),
    "base cache, values": Reader(MASK_VALUES, MASK_FILES[MASK_VALUES], _read_masks),
    "label store": Reader(LABELS_NAME, LABELS_CONTENT, _read_labels),
    "crop views": Reader("views.npz", _written(_write_views)["views.npz"], load_views),
    "tile": Reader(TILE_NAME, TILE_FILES[TILE_NAME], _read_tile),
    "tile settings": Reader(SETTINGS, SETTINGS_OF_TILES, _read_settings),
    "datasets of a run": Reader(DATASETS_FILE, DATASETS, lambda path: kept_datasets(path.parent)),
    "note": Reader("note.json", {"a.png": [1, 2]}, lambda path: read_note(path, "remove it")),
}
