"""AJI of each label maker, dataset and shift, with its spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw_experiments"]

MARKERS = "osD^v"
PANEL = 4.0  # inch


def draw_experiments(rows: Sequence[dict[str, Any]], path: str | Path) -> None:
    """Write a PNG with a panel for each dataset and encoder.

    Rows without an AJI, as of images without nuclei in truth and prediction, have no mark.

    Args:
        rows: of :func:`selfsam_d2.evaluation.experiment_table.summarise_records`, at least one.
        path: of the PNG.
    """
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["dataset"], row["encoder"]), []).append(row)
    figure = Figure(figsize=(PANEL * len(panels), PANEL), layout="constrained")
    for index, (key, own) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        _draw_panel(axes, own)
        axes.set_title(", ".join(key))
    figure.savefig(str(path), dpi=150)


def _has_mark(row: dict[str, Any]) -> bool:
    return row["metrics"]["AJI"]["mean"] is not None


def _draw_panel(axes: Axes, rows: list[dict[str, Any]]) -> None:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    shifts = sorted({row["shift"] for row in rows})
    for number, shift in enumerate(shifts):
        own = [row for row in rows if row["shift"] == shift and _has_mark(row)]
        offset = 0.12 * (number - (len(shifts) - 1) / 2)
        axes.errorbar(
            [methods.index(row["method"]) + offset for row in own],
            [row["metrics"]["AJI"]["mean"] for row in own],
            yerr=[row["metrics"]["AJI"]["sd"] or 0.0 for row in own],
            fmt=MARKERS[number % len(MARKERS)],
            capsize=3,
            label=f"shift {shift:g} px",
        )
    axes.set_xticks(range(len(methods)), methods)
    axes.set_xlim(-0.5, len(methods) - 0.5)
    axes.set_ylabel("AJI")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
