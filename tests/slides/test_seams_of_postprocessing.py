"""Seams with the post-processing of the model, whose border energy each tile scales by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.losses.hv import hv_map
from selfsam_d2.modeling.postprocess import PostProcessSettings, separate_nuclei
from selfsam_d2.outputs.prediction import NucleiPrediction
from selfsam_d2.slides.grid import Tile, tile_grid
from selfsam_d2.slides.nuclei import collect_nuclei
from selfsam_d2.slides.seams import settle
from selfsam_d2.slides.store import TileStore

SIZE, SIDE, MARGIN = (400, 320), 100, 32
RADIUS = 8


def touching_pairs(seed: int) -> NDArray[np.int32]:
    """Pairs of ellipses that touch, on every seam at random offsets and angles."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(SIZE[::-1])
    placed = np.zeros(SIZE[::-1], dtype=np.int32)
    seams = [(x, y) for x in range(100, 400, 100) for y in range(20, 320, 40)]
    seams += [(x, y) for x in range(20, 400, 40) for y in range(100, 320, 100)]
    for x, y in seams:
        angle = random.uniform(0, np.pi)
        step = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(6, 7)
        middle = np.array([x, y]) + random.integers(-6, 7, 2)
        pair = np.stack([middle - step, middle + step])
        distances = np.hypot(columns - pair[:, 0, None, None], rows - pair[:, 1, None, None])
        if not (placed[(distances < RADIUS + 3).any(axis=0)]).any():
            nearer = distances.argmin(axis=0)
            inside = distances.min(axis=0) < RADIUS
            placed[inside] = placed.max() + 1 + nearer[inside]
    return placed


def predict(maps: NDArray[np.floating[Any]], noise: float) -> NucleiPrediction:
    """What the head would make of foreground and HV maps, (3, H, W), of one window."""
    random = np.random.default_rng(maps.shape[1] * 10_007 + maps.shape[2])
    hv = maps[1:] + random.normal(0, noise, maps[1:].shape)
    found = separate_nuclei(maps[0], hv, PostProcessSettings())
    return NucleiPrediction(
        image=np.full((*found.shape, 3), 200, dtype=np.uint8),
        instance_map=found,
        scores=np.ones(int(found.max()), dtype=np.float32),
        foreground=maps[0].astype(np.float32),
        name="",
        microns_per_pixel=None,
    )


def by_tiles(
    maps: NDArray[np.floating[Any]], tiles: list[Tile], noise: float, folder: Path
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The label map of all tiles together, and how many nuclei lie on each pixel."""
    store = TileStore(folder, {})
    for tile in tiles:
        left, top, right, bottom = tile.region
        found = predict(maps[:, top:bottom, left:right], noise)
        store.write(tile, collect_nuclei(found, tile, SIZE, MARGIN // 4))
    settled = settle(store, tiles)
    labels, covered = np.zeros(SIZE[::-1], np.int32), np.zeros(SIZE[::-1], np.int32)
    number = 0
    for tile, kept, trimmed in zip(tiles, settled.kept, settled.trimmed, strict=True):
        part = store.read(tile).with_masks(trimmed, None).select(kept)
        for (x0, y0, x1, y1), mask in zip(part.boxes.tolist(), part.masks(), strict=True):
            number += 1
            labels[y0:y1, x0:x1][mask] = number
            covered[y0:y1, x0:x1] += mask
    return labels, covered


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_touching_nuclei_on_every_seam_are_neither_cut_nor_doubled(
    seed: int, noise: float, tmp_path: Path
) -> None:
    true = touching_pairs(seed)
    assert true.max() > 40
    hv = hv_map(torch.from_numpy(true)).numpy()
    maps = np.concatenate([(true > 0)[None].astype(np.float32), hv])
    whole = predict(maps, noise).instance_map
    labels, covered = by_tiles(maps, tile_grid(*SIZE, SIDE, MARGIN), noise, tmp_path)
    assert covered.max() == 1
    assert labels.max() == whole.max() == true.max()
    # Where tiles part a pair differently, a pixel on its border may be nobody's.
    assert not (covered[true == 0]).any()
    assert (covered[true > 0] == 0).mean() < 0.001
    together, alone = (nuclei_metrics(true, found)["AJI"] for found in (labels, whole))
    assert together > alone - 0.005
