"""True and predicted nuclei of one image beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from selfsam_d2.visualization.overlay import (
    PREDICTED_COLOR,
    TRUE_COLOR,
    draw_contours,
    enlarge,
    enlarge_labels,
)

__all__ = ["draw_comparison"]

PANEL_SIDE = 5.3  # inch
MIN_DRAWN_SIDE = 700  # px; smaller images are enlarged
DOTS_PER_INCH = 100
COLUMNS = 2


def draw_comparison(
    image: NDArray[np.uint8],
    true_map: NDArray[np.integer[Any]],
    predictions: Mapping[str, NDArray[np.integer[Any]]],
    path: str | Path,
) -> None:
    """Write a picture of the image, the true contours and those of each prediction, two a row.

    Args:
        image: (H, W, 3) uint8 RGB.
        true_map: (H, W) instance map.
        predictions: title -> (H, W) instance map.
        path: PNG file; its folder must exist.
    """
    factor = max(1, round(MIN_DRAWN_SIDE / max(image.shape[:2])))
    large = enlarge(image, factor)
    panels = {
        "image": large,
        f"truth: {_count(true_map)} nuclei": _outlined(large, true_map, TRUE_COLOR),
    }
    for title, instance_map in predictions.items():
        found = f"{title}, {_count(instance_map)} nuclei"
        panels[found] = _outlined(large, instance_map, PREDICTED_COLOR)
    rows = math.ceil(len(panels) / COLUMNS)
    height = PANEL_SIDE * image.shape[0] / image.shape[1] + 0.35
    figure = Figure(
        figsize=(PANEL_SIDE * COLUMNS, height * rows), dpi=DOTS_PER_INCH, layout="constrained"
    )
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, panel) in zip(axes, panels.items(), strict=False):
        axis.imshow(panel)
        axis.set_title(title, fontsize=13)
    figure.savefig(path)


def _count(instance_map: NDArray[np.integer[Any]]) -> int:
    return len(np.unique(instance_map[instance_map > 0]))


def _outlined(
    image: NDArray[np.uint8], instance_map: NDArray[np.integer[Any]], color: tuple[int, int, int]
) -> NDArray[np.uint8]:
    factor = image.shape[0] // instance_map.shape[0]
    return draw_contours(image, enlarge_labels(instance_map, factor), color, thickness=2)
