"""The pseudo labels of a training in a report: shares by epoch, and crops at several moments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.engine.finished_run import FinishedRun
from selfsam_d2.engine.label_stages import label_stages
from selfsam_d2.errors import InputError
from selfsam_d2.visualization.label_history import LabelStage, changed_pixels, draw_label_history
from selfsam_d2.visualization.page import Picture, Section, Table
from selfsam_d2.visualization.symbols import explain

__all__ = ["Column", "labels_section", "table_of_columns"]

Part = str | Table | Picture
DIGITS = 2
OF_PIXELS, OF_POINTS = "% of the pixels", "% of the points"


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        name: of what is told.
        unit: of its values; shares in [0, 1] have one that begins with %.
        values: a number, or None where it is unknown, for each row.
    """

    name: str
    unit: str
    values: Sequence[float | None]

    @property
    def heading(self) -> str:
        """Name and unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def shown(self) -> list[float | None]:
        """The values in their unit, rounded as on the page."""
        factor = 100 if self.unit.startswith("%") else 1
        return [None if each is None else round(factor * each, DIGITS) for each in self.values]


LABEL_COLUMNS = {
    "alpha": ("alpha", ""),
    "labels/prompt_ignored": ("ignored in S_P", OF_PIXELS),
    "labels/instance_ignored": ("ignored in S_I", OF_PIXELS),
    "labels/recovered": ("recovered", OF_PIXELS),
    "labels/empty_prompts": ("points without a label", OF_POINTS),
}


def labels_section(run: FinishedRun, crops: int, folder: Path) -> Section:
    """Shares of the labels by epoch, and the labels of some training crops over the training.

    Args:
        run: the training.
        crops: training crops that are shown, 0 or more.
        folder: where they are drawn.
    """
    title = "Pseudo labels over the epochs"
    if not learns_from_points(run.cfg):
        return Section(title, [f"{run.cfg.MODEL.META_ARCHITECTURE} learns from masks: none."])
    parts = _epochs(run)
    if crops:
        try:
            stages = label_stages(run, crops)
        except InputError as error:
            parts.append(f"No training crops are shown: {error}")
        else:
            parts += _stage_parts(stages, folder)
    return Section(title, parts)


def table_of_columns(
    first: str, rows: Sequence[str], columns: Sequence[Column]
) -> list[str | Table]:
    """A table of the columns whose values differ, and a line on those that stay the same.

    Args:
        first: heading of the first column.
        rows: its cells, at least one.
        columns: of as many values; those without any known one are left out.
    """
    known = [column for column in columns if any(each is not None for each in column.values)]
    constant = [column for column in known if len(set(column.shown)) == 1]
    varying = [column for column in known if column not in constant]
    parts: list[str | Table] = []
    if constant:
        told = ", ".join(
            f"{column.name} {column.shown[0]:.{DIGITS}f} {column.unit}".rstrip()
            for column in constant
        )
        where = f"For {first} {rows[0]}" if len(rows) == 1 else f"The same for each {first}"
        parts.append(f"{where}: {told}.")
    if varying:
        cells = list(zip(rows, *(column.shown for column in varying), strict=True))
        header = (first, *(column.heading for column in varying))
        parts.append(Table(header, cells, digits=DIGITS))
    return parts


def _epochs(run: FinishedRun) -> list[Part]:
    of_epoch: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in run.rows:
        epoch = run.epoch_of(row)
        if epoch is not None and "alpha" in row:
            of_epoch[epoch].append(row)
    if not of_epoch:
        return ["No epochs are known: log.txt says how many crops each has, metrics.json the rest."]
    columns = [
        Column(heading, unit, [_mean(rows, name) for rows in of_epoch.values()])
        for name, (heading, unit) in LABEL_COLUMNS.items()
    ]
    return [
        "Pseudo labels are the masks that the training makes from the points, and learns from. "
        "Means over the training crops that were logged in each epoch:",
        *table_of_columns("epoch", [str(epoch) for epoch in of_epoch], columns),
    ]


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else None


def _stage_parts(stages: Sequence[LabelStage], folder: Path) -> list[Part]:
    if not stages:
        return ["No training crops are shown: no checkpoint is kept."]
    path = folder / "label_history.png"
    draw_label_history(stages, path)
    shares = [stage.shares() for stage in stages]
    changes = [_changed(*pair) for pair in pairwise(stages)]
    columns = [
        Column("covered by nuclei", OF_PIXELS, [each["nuclei"] for each in shares]),
        Column("ignored", OF_PIXELS, [each["ignored"] for each in shares]),
        Column("changed since the row above", OF_PIXELS, [None, *changes]),
    ]
    return [
        Picture(
            path,
            "S_P of the first training crops",
            "As the model of each moment made them, under the rules of its epoch (alpha, prompts), "
            "with the augmentation of the training. Each nucleus has a colour.",
            wide=True,
            terms=explain(["alpha", "labels/prompt_ignored"]),
        ),
        "Of the crops above:",
        *table_of_columns("moment", [stage.title for stage in stages], columns),
    ]


def _changed(before: LabelStage, after: LabelStage) -> float:
    pairs = list(zip(before.views, after.views, strict=True))
    pixels = sum(int((~view.outside).sum()) for view in after.views)
    changed = sum(int(changed_pixels(*pair).sum()) for pair in pairs)
    return changed / pixels if pixels else 0.0
