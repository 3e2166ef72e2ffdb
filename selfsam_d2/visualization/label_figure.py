"""One row of pictures per training crop: from the points to the labels to the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.overlay import (
    POINT_COLOR,
    PREDICTED_COLOR,
    color_labels,
    draw_contours,
    draw_points,
    enlarge,
    enlarge_labels,
)

__all__ = [
    "IGNORED_IN_BOTH",
    "LOST",
    "OUTSIDE",
    "RECOVERED",
    "draw_label_figure",
    "ignored_panel",
    "label_panel",
]

PANELS = (
    "image and points",
    "$m_{base}$ (max over nuclei)",
    "$m_{adapt}$ (max over nuclei)",
    "$S_P$, prompt label",
    "$S_I$, instance label",
    "ignored pixels",
    "$B$, foreground map",
    "predicted nuclei",
)
PANEL_SIDE = 2.3  # inch
DOTS_PER_INCH = 110
SCALE = 3  # of a pixel of the crop in the pictures
HEAT_COLORS = "viridis"

IGNORED_IN_BOTH = (40, 40, 40)
RECOVERED = (0, 158, 115)  # ignored in S_P, used in S_I
LOST = (213, 94, 0)  # used in S_P, ignored in S_I
OUTSIDE = (205, 210, 222)


def draw_label_figure(views: Sequence[CropView], path: str | Path, title: str) -> None:
    """Write the figure of some training crops.

    Args:
        views: one row each, at least one.
        path: PNG file; its folder must exist.
        title: stands above the figure.

    Raises:
        ValueError: there is no view.
    """
    if not views:
        raise ValueError("Expected argument `views` to have at least one crop, but got none.")
    figure = Figure(
        figsize=(PANEL_SIDE * len(PANELS) + 0.9, PANEL_SIDE * len(views) + 1.2),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=14)
    axes = figure.subplots(len(views), len(PANELS), squeeze=False)
    for row, view in enumerate(views):
        for column, (axis, panel) in enumerate(zip(axes[row], _panels(view), strict=True)):
            axis.imshow(panel, cmap=HEAT_COLORS, vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(PANELS[column], fontsize=11)
        axes[row, 0].set_ylabel(f"{view.name}\nα = {view.alpha:.2f}", fontsize=10)
        axes[row, 5].set_xlabel(_ignored_shares(view), fontsize=9)
    heat = ScalarMappable(Normalize(0, 1), HEAT_COLORS)
    figure.colorbar(heat, ax=axes, label="probability", shrink=0.8, pad=0.005, aspect=30)
    figure.legend(
        handles=_legend(), loc="outside lower center", ncols=7, frameon=False, fontsize=11
    )
    figure.savefig(path)


def ignored_panel(view: CropView) -> NDArray[np.uint8]:
    """(c, c, 3) uint8 RGB: which pixels are left out of S_P, of S_I or of both, over the image."""
    left_out, left_out_later = view.prompt_label == IGNORE, view.instance_label == IGNORE
    panel = color_labels(view.image, np.zeros_like(view.prompt_label))
    panel[left_out & left_out_later] = IGNORED_IN_BOTH
    panel[left_out & ~left_out_later] = RECOVERED
    panel[~left_out & left_out_later] = LOST
    panel[view.outside] = OUTSIDE
    return panel


def label_panel(view: CropView, labels: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """(sc, sc, 3) uint8 RGB: a label map over the pale crop, ignored pixels hatched."""
    panel = color_labels(enlarge(view.image, SCALE), enlarge_labels(labels, SCALE))
    panel[enlarge_labels(view.outside, SCALE)] = OUTSIDE
    return panel


def _panels(view: CropView) -> list[NDArray[Any]]:
    image = enlarge(view.image, SCALE)
    return [
        draw_points(image, view.points * SCALE, radius=4),
        view.base,
        view.adapted,
        label_panel(view, view.prompt_label),
        label_panel(view, view.instance_label),
        ignored_panel(view),
        view.foreground,
        draw_contours(
            image, enlarge_labels(view.instance_map, SCALE), PREDICTED_COLOR, thickness=2
        ),
    ]


def _ignored_shares(view: CropView) -> str:
    kept = ~view.outside
    shares = [
        float((labels == IGNORE)[kept].mean()) if kept.any() else 0.0
        for labels in (view.prompt_label, view.instance_label)
    ]
    return f"$S_P$ {shares[0]:.0%}, $S_I$ {shares[1]:.0%}"


def _legend() -> list[Patch]:
    hatched = Patch(
        facecolor="white", edgecolor="black", hatch="////", label="ignored in the label"
    )
    return [
        _patch(POINT_COLOR, "point annotation"),
        hatched,
        _patch(IGNORED_IN_BOTH, "ignored in $S_P$ and $S_I$"),
        _patch(RECOVERED, "recovered: only ignored in $S_P$"),
        _patch(LOST, "only ignored in $S_I$"),
        _patch(OUTSIDE, "beyond the image"),
        _patch(PREDICTED_COLOR, "contour of a predicted nucleus"),
    ]


def _patch(color: tuple[int, int, int], label: str) -> Patch:
    red, green, blue = (value / 255 for value in color)
    return Patch(facecolor=(red, green, blue), edgecolor="black", label=label)
