"""Curves of losses, labels and metrics from the ``metrics.json`` that Detectron2 writes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from selfsam_d2.errors import InputError
from selfsam_d2.files import parse_json
from selfsam_d2.structures.image_files import MAX_TEXT, require_file

__all__ = ["draw_curves", "draw_pace", "read_training_log", "trainings_in_log"]

logger = logging.getLogger(__name__)

LOSSES = {
    "total_loss": "total",
    "loss_prompt": "$L_P$ (prompt masks)",
    "loss_foreground": "$L_B$ (foreground)",
    "loss_distance": "$L_D$ (HV maps)",
    "loss_contrast": "$L_C$ (contrast)",
}
LABELS = {
    "alpha": "alpha, weight of the base masks",
    "labels/prompt_ignored": "ignored in $S_P$",
    "labels/instance_ignored": "ignored in $S_I$",
    "labels/recovered": "recovered by consensus",
    "labels/empty_prompts": "points without a label",
}
METRICS = {
    "nuclei/Dice": "Dice",
    "nuclei/AJI": "AJI",
    "nuclei/PQ": "PQ",
    "nuclei/F1": "F1",
    "sem_seg/Dice": "Dice of the pixels",
}
SECONDS = {"time": "step", "data_time": "of it, waiting for data"}


def read_training_log(path: str | Path) -> list[dict[str, Any]]:
    """Read the JSON lines of Detectron2's ``JSONWriter``.

    Args:
        path: ``metrics.json`` of an output folder.

    Returns:
        rows sorted by ``iteration``; where a resumed run repeats a step its later row counts.

    Raises:
        InputError: the file is missing or a line of it is not such a row.
    """
    rows = {int(row["iteration"]): row for row in _read_rows(path)}
    return [rows[step] for step in sorted(rows)]


def trainings_in_log(path: str | Path) -> int:
    """How many trainings wrote into one log, each from its first step on.

    A training that is resumed goes on behind its first row, so that a row at or before the first
    one is another training. Where one was resumed from before its first row, it counts again.

    Args:
        path: as for :func:`read_training_log`.

    Raises:
        InputError: see :func:`read_training_log`.
    """
    steps = [int(row["iteration"]) for row in _read_rows(path)]
    return sum(step <= steps[0] for step in steps)


def _read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows in the order in which they were written."""
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file; give the metrics.json of a training")
    require_file(path, MAX_TEXT, "give the metrics.json of a training")
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
            int(row["iteration"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            if number > 1 and not line.endswith("\n"):
                # Of a run that was killed, or is writing.
                logger.warning("%s: the last line, %d, is unfinished; left out", path, number)
                continue
            raise InputError(
                path, f"line {number} is not a row of Detectron2's log; is it another metrics.json?"
            ) from error
        rows.append(row)
    return rows


def draw_curves(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    before: Mapping[str, float | None] | None = None,
) -> int:
    """Draw losses, pseudo labels and metrics against the training step.

    Args:
        rows: of :func:`read_training_log`.
        path: PNG file; its folder must exist.
        before: metric name -> value of the untrained model, drawn at step 0.

    Returns:
        number of diagrams side by side: that of the losses without those that are always 0, of
        the labels where one of their numbers changes, of the metrics where there are some.
    """
    start = {f"nuclei/{name}": value for name, value in (before or {}).items()}
    with_start = [{"iteration": 0, **start}, *rows]
    panels = [(_draw_losses, rows)]
    panels += [(_draw_labels, rows)] if _varies(rows, LABELS) else []
    panels += [(_draw_metrics, with_start)] if _logged(with_start, METRICS) else []
    figure = Figure(figsize=(5 * len(panels), 4.4), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for (draw, own_rows), axis in zip(panels, axes, strict=True):
        draw(axis, own_rows)
    _finish(axes)
    figure.savefig(path)
    return len(panels)


def _draw_losses(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    others = {name: name for row in rows for name in row if name.startswith("loss_")}
    names = LOSSES | {name: name for name in others if name not in LOSSES}
    drawn = {name: label for name, label in names.items() if any(row.get(name) for row in rows)}
    _plot(axis, rows, drawn)
    axis.set(title="Losses (median of 20 steps)", ylabel="loss, weighted")
    # Logarithmic down to 0.01 and linear below, as a loss may be 0.
    axis.set_yscale("symlog", linthresh=0.01)
    axis.set_ylim(bottom=0)


def _draw_labels(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    _plot(axis, rows, LABELS)
    axis.set(title="Pseudo labels", ylim=(-0.03, 1.03), ylabel="share of pixels or points; alpha")
    axis.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _draw_metrics(axis: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    _plot(axis, rows, METRICS, marker="o")
    axis.set(title="Validation images", ylim=(-0.03, 1.03), ylabel="metric, mean over images")


def _logged(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> bool:
    return any(row.get(name) is not None for row in rows for name in names)


def _varies(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> bool:
    values = ({row[name] for row in rows if row.get(name) is not None} for name in names)
    return any(len(found) > 1 for found in values)


def draw_pace(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw learning rate and seconds per step against the training step.

    Args:
        rows: of :func:`read_training_log`.
        path: PNG file; its folder must exist.
    """
    figure = Figure(figsize=(10, 3.6), dpi=110, layout="constrained")
    rate, seconds = figure.subplots(1, 2)
    _plot(rate, rows, {"lr": "of the first group of parameters"})
    rate.set(title="Learning rate", ylabel="learning rate")
    rate.set_ylim(bottom=0)
    _plot(seconds, rows, SECONDS)
    seconds.set(title="Seconds per step (median of 20 steps)", ylabel="seconds")
    seconds.set_ylim(bottom=0)
    _finish((rate, seconds))
    figure.savefig(path)


def _finish(axes: Sequence[Axes]) -> None:
    for axis in axes:
        axis.set_xlabel("training step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=9)
        else:
            axis.text(0.5, 0.5, "none in the log", ha="center", transform=axis.transAxes)


def _plot(
    axis: Axes, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], marker: str = "."
) -> None:
    for name, label in names.items():
        known = [(row["iteration"], row[name]) for row in rows if row.get(name) is not None]
        if known:
            axis.plot(*zip(*known, strict=True), label=label, marker=marker, linewidth=1.6)
