"""The baseline of a threshold and a watershed, on nuclei that were drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.color import hed2rgb

from selfsam_d2.evaluation.metrics import nuclei_metrics
from selfsam_d2.evaluation.otsu import otsu_watershed

TISSUE, NUCLEUS = (230, 190, 215), (90, 50, 140)


def drawn(discs: list[tuple[int, int, int]]) -> tuple[Any, Any]:
    """An image of discs (x, y, radius) and their map."""
    y, x = np.mgrid[:96, :96]
    true = np.zeros((96, 96), dtype=np.int32)
    for number, (cx, cy, radius) in enumerate(discs, start=1):
        true[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = number
    image = np.where((true > 0)[..., None], NUCLEUS, TISSUE).astype(np.uint8)
    return image, true


@pytest.mark.parametrize(
    "discs",
    [
        [(20, 20, 10), (70, 60, 10)],
        [(30, 48, 10), (49, 48, 10)],
        [(25, 48, 18), (50, 40, 9), (70, 48, 14)],
    ],
    ids=["apart", "touching", "touching, of three sizes"],
)
def test_discs_are_found_one_by_one(discs: list[tuple[int, int, int]]) -> None:
    image, true = drawn(discs)
    found = otsu_watershed(image)
    assert found.dtype == np.int32
    assert found.max() == len(discs)
    assert nuclei_metrics(true, found)["AJI"] > 0.9


def test_holes_are_filled() -> None:
    image, _ = drawn([(48, 48, 10)])
    image[46:50, 46:50] = TISSUE
    found = otsu_watershed(image)
    assert found[48, 48] == found[48, 42] == found.max() == 1


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(5, 9), slice(5, 60)), (slice(5, 11), slice(5, 11))],
    ids=["a long thin one", "a small square"],
)
def test_specks_are_left_out(rows: slice, columns: slice) -> None:
    image, true = drawn([(48, 48, 10)])
    image[rows, columns] = NUCLEUS
    found = otsu_watershed(image)
    assert found.max() == 1
    assert found[rows, columns].max() == 0
    assert found[true > 0].max() == 1


def of_stains(haematoxylin: Any, eosin: Any) -> Any:
    """An image of these concentrations, each (H, W)."""
    stains = np.stack([haematoxylin, eosin, np.zeros_like(eosin)], axis=-1)
    return np.round(hed2rgb(stains) * 255).astype(np.uint8)


def test_what_is_red_is_no_nucleus() -> None:
    _, blue = drawn([(28, 48, 10)])
    _, red = drawn([(68, 48, 12)])
    found = otsu_watershed(of_stains(0.02 + 0.1 * (blue > 0), 0.02 + 0.1 * (red > 0)))
    assert nuclei_metrics(blue, found)["AJI"] > 0.9


def test_noise_makes_no_nuclei() -> None:
    """The stain is smoothed before its threshold; without, this noise gives 7 nuclei."""
    _, true = drawn([(28, 48, 14), (68, 48, 14)])
    noise = np.random.default_rng(0).normal(0, 0.04, true.shape)
    found = otsu_watershed(of_stains(0.05 + 0.06 * (true > 0) + noise, np.full(true.shape, 0.02)))
    assert found.max() == 2
    assert nuclei_metrics(true, found)["AJI"] > 0.9


def test_an_object_of_more_than_30_px_stays() -> None:
    image, _ = drawn([(48, 48, 10)])
    image[5:12, 5:12] = NUCLEUS  # 49 px², of which smoothing and opening leave 37
    found = otsu_watershed(image)
    assert found.max() == 2
    assert 30 < np.count_nonzero(found[5:12, 5:12]) < 50


def test_an_image_of_one_colour_has_no_nuclei() -> None:
    assert otsu_watershed(np.full((40, 50, 3), 200, dtype=np.uint8)).max() == 0
