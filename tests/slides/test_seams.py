"""Nuclei on the seams of tiles: neither cut nor doubled, whatever tiles are done first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsam_d2.slides.grid import Tile, tile_grid
from selfsam_d2.slides.nuclei import TileNuclei, collect_nuclei
from selfsam_d2.slides.seams import settle
from selfsam_d2.slides.store import TileStore


def found_by_tiles(
    image: Any, tiles: list[Tile], slack: int, predict: Any, folder: Path
) -> list[tuple[bytes, ...]]:
    """Place and mask of each nucleus."""
    height, width = image.shape[:2]
    store = TileStore(folder, {}, overwrite=True)
    for tile in tiles:
        left, top, right, bottom = tile.region
        nuclei = collect_nuclei(
            predict(image[top:bottom, left:right]), tile, (width, height), slack
        )
        store.write(tile, nuclei)
    return described(store, tiles)


def described(store: TileStore, tiles: list[Tile]) -> list[tuple[bytes, ...]]:
    settled = settle(store, tiles)
    nuclei = []
    for tile, kept, trimmed in zip(tiles, settled.kept, settled.trimmed, strict=True):
        part = store.read(tile).with_masks(trimmed, None).select(kept)
        nuclei += zip(part.boxes.tolist(), (mask.tobytes() for mask in part.masks()), strict=True)
    return sorted((tuple(box), mask) for box, mask in nuclei)


def at_once(image: Any, predict: Any, folder: Path) -> list[tuple[bytes, ...]]:
    height, width = image.shape[:2]
    return found_by_tiles(image, tile_grid(width, height, 10**6, 0), 0, predict, folder)


def test_cores_share_a_slide_out_and_regions_stay_on_it() -> None:
    for width, height, side, margin in ((300, 200, 64, 16), (64, 65, 64, 9), (1, 1, 5, 0)):
        count = np.zeros((height, width), dtype=int)
        for tile in tile_grid(width, height, side, margin):
            left, top, right, bottom = tile.core
            assert max(right - left, bottom - top) <= side
            count[top:bottom, left:right] += 1
            x0, y0, x1, y1 = tile.region
            assert (x0, y0) == (max(left - margin, 0), max(top - margin, 0))
            assert (x1, y1) == (min(right + margin, width), min(bottom + margin, height))
        assert (count == 1).all()
    with pytest.raises(ValueError, match="at least 1"):
        tile_grid(0, 4, 4, 0)


def test_nuclei_on_every_seam_and_corner_are_those_of_one_window(
    planted: Any, finder: Any, tmp_path: Path
) -> None:
    tiles = tile_grid(200, 160, 56, 16)
    edges = [sorted({tile.core[axis] for tile in tiles}) for axis in (0, 1)]
    # On every corner of the grid, and on the seams between them at all offsets.
    centres = [(x, y) for x in edges[0] for y in edges[1]]
    centres += [(x + k % 7 - 3, y + 25) for k, x in enumerate(edges[0]) for y in edges[1]]
    centres += [(x + 25, y + k % 7 - 3) for k, y in enumerate(edges[1]) for x in edges[0]]
    image = planted(200, 160, centres)
    whole = at_once(image, finder(), tmp_path / "one")
    assert len(whole) > 20
    assert found_by_tiles(image, tiles, 4, finder(), tmp_path / "tiles") == whole


@settings(max_examples=15, deadline=None)
@given(
    side=st.integers(20, 60),
    margin=st.integers(12, 24),
    slack=st.integers(0, 6),
    centres=st.lists(st.tuples(st.integers(0, 89), st.integers(0, 69)), max_size=12),
)
def test_any_grid_finds_what_one_window_finds(
    side: int, margin: int, slack: int, centres: Any, planted: Any, finder: Any,
    tmp_path_factory: Any,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("grid")
    image = planted(90, 70, centres)
    tiles = tile_grid(90, 70, side, margin)
    whole = at_once(image, finder(), folder / "one")
    assert found_by_tiles(image, tiles, slack, finder(), folder / "tiles") == whole


def test_a_tile_keeps_what_is_near_its_core_and_knows_what_it_cuts(
    planted: Any, finder: Any
) -> None:
    image = planted(200, 100, [(60, 50), (103, 50), (134, 50), (0, 20)])
    left = tile_grid(200, 100, 100, 32)[0]
    found = finder()(image[:, :132])

    def kept(slack: int) -> Any:
        nuclei = collect_nuclei(found, left, (200, 100), slack)
        return sorted(
            (box[0], bool(core), bool(whole))
            for box, core, whole in zip(nuclei.boxes, nuclei.in_core, nuclei.whole, strict=True)
        )

    own = [(0, True, True), (55, True, True)]  # the border of the slide cuts nothing
    assert kept(0) == kept(2) == own
    assert kept(4) == [*own, (99, False, True)]
    assert kept(40) == [*own, (99, False, True), (129, False, False)]
    with pytest.raises(ValueError, match="100 x 132 px"):
        collect_nuclei(finder()(image), left, (200, 100), 0)


def nuclei_of(tile: Tile, *boxes: tuple[int, int, int, int], score: float = 0.5) -> TileNuclei:
    """Full boxes as nuclei of a tile."""
    placed = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    middle = (placed[:, :2] + placed[:, 2:]) / 2
    core = np.array(tile.core)
    in_core = ((middle >= core[:2]) & (middle < core[2:])).all(axis=1)
    masks = [np.packbits(np.ones((y1 - y0) * (x1 - x0), bool)) for x0, y0, x1, y1 in boxes]
    names = ("area_px", "perimeter_px", "eccentricity", "solidity", "haematoxylin", "x_px", "y_px")
    area = (placed[:, 2:] - placed[:, :2]).prod(axis=1).astype(np.float64)
    return TileNuclei(
        boxes=placed,
        bits=np.concatenate([np.zeros(0, np.uint8), *masks]),
        scores=np.full(len(boxes), score, dtype=np.float32),
        whole=np.ones(len(boxes), dtype=bool),
        in_core=in_core,
        table=dict.fromkeys(names, area),
    )


@pytest.fixture
def two(tmp_path: Path) -> tuple[TileStore, list[Tile]]:
    return TileStore(tmp_path / "store", {}), tile_grid(200, 100, 100, 32)


def boxes(described: list[Any]) -> list[Any]:
    return [box for box, _ in described]


def test_a_nucleus_whose_centroid_each_tile_sees_on_its_own_side_is_one(two: Any) -> None:
    store, (left, right) = two
    store.write(left, nuclei_of(left, (90, 10, 109, 30)))
    store.write(right, nuclei_of(right, (91, 10, 111, 30)))
    assert boxes(described(store, [left, right])) == [(91, 10, 111, 30)]  # the larger


def test_a_nucleus_whose_centroid_each_tile_sees_on_the_other_side_is_there(two: Any) -> None:
    store, (left, right) = two
    store.write(left, nuclei_of(left, (91, 10, 111, 30)))
    store.write(right, nuclei_of(right, (90, 10, 109, 30)))
    assert boxes(described(store, [left, right])) == [(91, 10, 111, 30)]


def test_what_one_tile_merges_and_the_other_parts_is_there_once(two: Any) -> None:
    store, (left, right) = two
    store.write(left, nuclei_of(left, (80, 10, 98, 30), (98, 10, 118, 30)))
    store.write(right, nuclei_of(right, (80, 10, 118, 30)))
    assert boxes(described(store, [left, right])) == [(80, 10, 98, 30), (98, 10, 118, 30)]


def test_neighbours_that_share_a_few_pixels_both_stay_and_part_them(two: Any) -> None:
    store, (left, right) = two
    store.write(left, nuclei_of(left, (80, 10, 100, 30)))
    store.write(right, nuclei_of(right, (98, 10, 120, 30)))
    first, second = described(store, [left, right])
    assert (first[0], second[0]) == ((80, 10, 98, 30), (98, 10, 120, 30))
    assert sum(second[1]) == 22 * 20
    assert sum(first[1]) == 18 * 20
    settled = settle(store, [left, right])
    table = store.read(left).with_masks(settled.trimmed[0], None).table
    assert table["area_px"].tolist() == [18 * 20]
    assert table["x_px"].tolist() == [89]
    assert table["haematoxylin"].tolist() == [400]  # as it was


def test_what_the_border_of_a_tile_cuts_gives_way(two: Any) -> None:
    store, (left, right) = two
    cut = nuclei_of(left, (60, 10, 132, 30))
    store.write(left, TileNuclei(**{**vars(cut), "whole": np.array([False])}))
    store.write(right, nuclei_of(right, (76, 10, 136, 30)))
    assert boxes(described(store, [left, right])) == [(76, 10, 136, 30)]


def test_the_order_of_the_tiles_does_not_matter(two: Any) -> None:
    store, tiles = two
    for tile in tiles:
        store.write(tile, nuclei_of(tile, *((92 + 3 * k, 9 * k, 109, 9 * k + 8) for k in range(5))))
    assert described(store, tiles) == described(store, tiles[::-1])
    assert len(described(store, tiles)) == 5
