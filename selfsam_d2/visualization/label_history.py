"""The labels of the same training crops at several moments of a training, side by side.

Shape legend:
    c: side of a crop, px
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.visualization.crop_view import CropView
from selfsam_d2.visualization.label_figure import SCALE, label_panel
from selfsam_d2.visualization.overlay import color_labels, draw_points, enlarge, enlarge_labels

__all__ = ["CHANGED", "LabelStage", "changed_pixels", "draw_label_history"]

PANEL_SIDE = 3.2  # inch
DOTS_PER_INCH = 110
CHANGED = (213, 94, 0)


@dataclass(frozen=True)
class LabelStage:
    """Training crops at one moment.

    Attributes:
        title: of the moment, a few words.
        views: of the crops, the same in each stage.
    """

    title: str
    views: Sequence[CropView]

    def shares(self) -> dict[str, float]:
        """Shares of the pixels inside the images, all crops together, in [0, 1].

        ``nuclei`` and ``ignored`` in S_P.
        """
        labels = np.concatenate([view.prompt_label[~view.outside] for view in self.views])
        if not labels.size:
            return {"nuclei": 0.0, "ignored": 0.0}
        return {
            "nuclei": float((labels > 0).mean()),
            "ignored": float((labels == IGNORE).mean()),
        }


def changed_pixels(before: CropView, after: CropView) -> NDArray[np.bool_]:
    """(c, c) bool: inside the image, and of another S_P: other nucleus, background or ignored.

    Raises:
        ValueError: the views are of different crops.
    """
    if before.name != after.name or not np.array_equal(before.points, after.points):
        raise ValueError(f"Expected views of one crop, but got {before.name} and {after.name}.")
    different: NDArray[np.bool_] = before.prompt_label != after.prompt_label
    return different & ~before.outside


def draw_label_history(stages: Sequence[LabelStage], path: str | Path) -> None:
    """Write a picture with a row per crop: the crop, S_P at each moment, and what has changed.

    Args:
        stages: in the order of time, at least one, of the same crops.
        path: PNG file; its folder must exist.

    Raises:
        ValueError: there is no stage, or the stages are of different crops.
    """
    if not stages:
        raise ValueError("Expected argument `stages` to have at least one entry, but got none.")
    rows = list(zip(*(stage.views for stage in stages), strict=True))
    titles = ["crop and points", *(stage.title for stage in stages), "changed, first to last"]
    figure = Figure(
        figsize=(PANEL_SIDE * len(titles), PANEL_SIDE * len(rows) + 0.9),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for row, views in enumerate(rows):
        for axis, panel in zip(axes[row], _panels(views), strict=True):
            axis.imshow(panel, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(views[0].name, fontsize=10)
        axes[row, -1].set_xlabel(f"{_share(views):.1%} of the pixels", fontsize=10)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=11)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)


def _panels(views: Sequence[CropView]) -> list[NDArray[np.uint8]]:
    first = views[0]
    image = enlarge(first.image, SCALE)
    changed = color_labels(image, np.zeros(image.shape[:2], dtype=np.int64))
    changed[enlarge_labels(changed_pixels(first, views[-1]), SCALE)] = CHANGED
    return [
        draw_points(image, first.points * SCALE, radius=4),
        *(label_panel(view, view.prompt_label) for view in views),
        changed,
    ]


def _share(views: Sequence[CropView]) -> float:
    inside = ~views[0].outside
    changed = changed_pixels(views[0], views[-1])
    return float(changed[inside].mean()) if inside.any() else 0.0


def _legend() -> list[Patch]:
    red, green, blue = (value / 255 for value in CHANGED)
    return [
        Patch(facecolor="white", edgecolor="black", hatch="////", label="ignored"),
        Patch(facecolor=(red, green, blue), edgecolor="black", label="label has changed"),
    ]
