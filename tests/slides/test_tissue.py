"""Tissue is what has a colour; glass, black and pen-free borders are left out."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfsam_d2.slides.grid import tile_grid
from selfsam_d2.slides.tissue import tiles_with_tissue, tissue_mask

NOISE = np.random.default_rng(0).integers(-3, 4, (120, 160, 3))


def glass() -> Any:
    return np.clip(244 + NOISE, 0, 255).astype(np.uint8)


def test_tissue_is_found_and_dirt_is_not() -> None:
    image = glass()
    image[30:80, 40:100] = np.clip((225, 180, 210) + NOISE[30:80, 40:100], 0, 255)
    image[50:53, 60:63] = 240  # a hole
    image[:, 140:] = np.abs(NOISE[:, 140:])  # not scanned
    mask = tissue_mask(image)
    assert mask[30:80, 40:100].all()
    seam = np.zeros_like(mask)
    seam[24:86, 34:106] = True
    assert not (mask & ~seam).any()


def test_a_speck_is_dirt_and_a_biopsy_is_not() -> None:
    image = np.full((480, 640, 3), 244, dtype=np.uint8)
    image[100:102, 200:202] = image[300:312, 400:403] = (160, 80, 170)
    mask = tissue_mask(image)
    assert not mask[:200].any()
    assert mask[300:312, 400:403].all()


def test_an_empty_slide_has_none_and_a_full_one_is_all() -> None:
    assert not tissue_mask(glass()).any()
    assert not tissue_mask(np.full((20, 20, 3), 255, np.uint8)).any()
    full = np.clip((215, 160, 200) + 4 * NOISE, 0, 255).astype(np.uint8)
    full[:, :80] = np.clip((110, 70, 150) + NOISE[:, :80], 0, 255)
    assert tissue_mask(full).all()


def test_tiles_without_tissue_are_left_out() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[3, 11] = True
    chosen = tiles_with_tissue(tile_grid(2000, 1000, 250, 50), mask, 2000, 1000)
    assert [tile.core for tile in chosen] == [(1000, 250, 1250, 500)]
