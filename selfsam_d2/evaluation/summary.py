"""The report of an evaluation: the mean over images, one row per image, as JSON and as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from selfsam_d2.files import writing

__all__ = ["format_table", "summarise", "write_json"]


def summarise(per_image: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Average the metrics over images.

    Args:
        per_image: file stem -> metric name -> value in [0, 1], or not a number where truth and
            prediction are both empty.

    Returns:
        ``{"mean": {metric: value}, "images": {stem: {metric: value}}, "both_empty": count}``, with
        ``None`` for not a number. Such images are left out of the mean and counted in
        ``both_empty``; a mean over no image is ``None``.
    """
    names = list(dict.fromkeys(name for row in per_image.values() for name in row))
    mean: dict[str, float | None] = {}
    for name in names:
        values = [row[name] for row in per_image.values() if not math.isnan(row[name])]
        mean[name] = math.fsum(values) / len(values) if values else None
    images = {
        stem: {name: None if math.isnan(value) else value for name, value in row.items()}
        for stem, row in per_image.items()
    }
    empty = sum(all(math.isnan(value) for value in row.values()) for row in per_image.values())
    return {"mean": mean, "images": images, "both_empty": empty}


def format_table(summary: Mapping[str, Any]) -> str:
    """Lay a summary out as text: a row per image and the mean, no newline at the end.

    Args:
        summary: what :func:`summarise` returns.
    """
    names = list(summary["mean"])
    rows: list[list[Any]] = [
        [stem, *(row[name] for name in names)] for stem, row in summary["images"].items()
    ]
    averaged = len(summary["images"]) - summary["both_empty"]
    rows.append([f"mean of {averaged}", *summary["mean"].values()])
    text: str = tabulate(
        rows,
        headers=["image", *names],
        floatfmt=".4f",
        missingval="-",
        disable_numparse=[0],
    )
    if summary["both_empty"]:
        text += f"\nleft out of the mean, truth and prediction both empty: {summary['both_empty']}"
    return text


def write_json(path: str | Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON so that a reader never sees half a file; missing folders are made.

    Args:
        path: the file, replaced if it exists.
        content: what ``json`` can write; not a number is refused, as JSON has no word for it.

    Raises:
        OutputError: if the file cannot be written.
        ValueError: if a value is not a number.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with writing(path, remedy="choose another file") as draft:
        draft.write_text(text, encoding="utf-8")
