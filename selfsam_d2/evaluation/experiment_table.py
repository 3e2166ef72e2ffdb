"""From the records of runs to one table: mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from selfsam_d2.evaluation.paper import paper_figure

__all__ = ["METRICS", "format_csv", "format_markdown", "summarise_records"]

METRICS = ("Dice", "AJI", "AJI_plus", "AJI_fast", "object_Dice", "PQ", "F1")
# In this order, others after them.
METHODS = ("voronoi", "static", "no contrast", "self-refining", "stain and boxes join")


def summarise_records(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each (test dataset, encoder, method, shift) over its seeds.

    Args:
        records: as :func:`selfsam_d2.engine.experiments.make_record` makes them.

    Returns:
        rows with ``dataset``, ``encoder``, ``method``, ``shift``, ``seeds``, ``steps`` and
        ``minutes`` (means), for each metric ``mean`` and ``sd`` (sample; None for one seed), and
        ``paper``: what the paper prints, on its own test images.
    """
    groups: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for record in records:
        for dataset, result in record["results"].items():
            key = (dataset, record["encoder"], record["method"], record["shift"])
            groups.setdefault(key, []).append((record, result["mean"]))
    return [_row(key, groups[key]) for key in sorted(groups, key=_order)]


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dataset, encoder, method, shift = key
    place = METHODS.index(method) if method in METHODS else len(METHODS)
    return dataset, encoder, shift, place, method


def _row(key: tuple[Any, ...], runs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    dataset, encoder, method, shift = key
    paper = paper_figure(dataset.rsplit("_", 1)[0], encoder, method, shift)
    return {
        "dataset": dataset,
        "encoder": encoder,
        "method": method,
        "shift": shift,
        "seeds": sorted(record["seed"] for record, _ in runs),
        "steps": statistics.mean(record["steps"] for record, _ in runs),
        "minutes": statistics.mean(record["seconds"] for record, _ in runs) / 60,
        "metrics": {
            name: _spread([mean[name] for _, mean in runs if mean.get(name) is not None])
            for name in METRICS
        },
        "paper": None if paper is None else {"Dice": paper.dice, "AJI": paper.aji},
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    return {
        "mean": statistics.mean(values) if values else None,
        "sd": statistics.stdev(values) if len(values) > 1 else None,
    }


def format_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table, a newline at the end."""
    headers = ["images", "encoder", "labels", "shift", "seeds", "steps", "min", *METRICS]
    cells = [
        [
            *(row["dataset"], row["encoder"], row["method"], f"{row['shift']:g}"),
            *(", ".join(map(str, row["seeds"])), f"{row['steps']:.0f}", f"{row['minutes']:.0f}"),
            *(_cell(row["metrics"][name]) for name in METRICS),
            _paper(row["paper"]),
        ]
        for row in rows
    ]
    headers.append("paper: Dice / AJI")
    return str(tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)) + "\n"


def _cell(spread: dict[str, float | None]) -> str:
    if spread["mean"] is None:
        return "–"
    text = f"{spread['mean']:.3f}"
    return text if spread["sd"] is None else f"{text} ± {spread['sd']:.3f}"


def _paper(paper: dict[str, float] | None) -> str:
    return "–" if paper is None else f"{paper['Dice']:.3f} / {paper['AJI']:.3f}"


def format_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV, a column for each number; empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"{name}_{part}" for name in METRICS for part in ("mean", "sd")]
    writer.writerow(
        [
            *("dataset", "encoder", "method", "shift", "seeds", "steps", "minutes", *columns),
            *("paper_Dice", "paper_AJI"),
        ]
    )
    for row in rows:
        paper = row["paper"] or {}
        writer.writerow(
            [
                *(row["dataset"], row["encoder"], row["method"], row["shift"]),
                *(" ".join(map(str, row["seeds"])), row["steps"], round(row["minutes"], 2)),
                *(row["metrics"][name][part] for name in METRICS for part in ("mean", "sd")),
                *(paper.get("Dice"), paper.get("AJI")),
            ]
        )
    return file.getvalue()
