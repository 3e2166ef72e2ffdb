"""From the records of runs to one table: mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from selfsam_d2.errors import InputError
from selfsam_d2.evaluation.paper import paper_figure_of_run

__all__ = ["METRICS", "format_csv", "format_markdown", "summarise_records"]

PAPER_NOTE = (
    "The paper's figures are of its own test images. If its authors compute as in their earlier "
    "code (InstaSAM), `object_Dice` and `AJI_fast` are the columns to compare with."
)
METRICS = ("Dice", "AJI", "AJI_plus", "AJI_fast", "object_Dice", "PQ", "F1")
# In this order, others after them.
METHODS = ("voronoi", "static", "no contrast", "self-refining", "stain and boxes join")


def summarise_records(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each (test dataset, encoder, method, shift, settings) over its seeds.

    The paper's figures stand beside a row that is one of the paper's, in the paper's settings.
    They are of its own test images, also beside a validation split. If its authors compute as in
    their earlier code (InstaSAM), its Dice is what is called ``object_Dice`` here and its AJI
    ``AJI_fast``.

    Args:
        records: as :func:`selfsam_d2.engine.experiments.make_record` makes them.

    Returns:
        rows with ``dataset``, ``encoder``, ``method``, ``shift``, ``seeds``, ``steps`` and
        ``minutes`` (means), for each metric ``mean`` and ``sd`` (sample; None for one seed), and
        ``paper``: ``Dice`` and ``AJI``, or None. Where rows differ in other settings, ``method``
        names those too.

    Raises:
        InputError: two records are of one seed of one row, or the runs of a row were trained on
            different base weights.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        settings = json.dumps(_without_seed(record), sort_keys=True)
        for dataset in record["results"]:
            key = (dataset, record["encoder"], record["method"], record["shift"], settings)
            groups.setdefault(key, []).append(record)
    names: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for key, runs in groups.items():
        names.setdefault(key[:-1], []).append(_without_seed(runs[0]))
    return [
        _row(key[0], groups[key], _what_differs(names[key[:-1]], groups[key][0]))
        for key in sorted(groups, key=_order)
    ]


def _without_seed(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record["settings"].items() if key != "SEED"}


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    dataset, encoder, method, shift, settings = key
    place = METHODS.index(method) if method in METHODS else len(METHODS)
    return dataset, encoder, shift, place, method, settings


def _what_differs(all_settings: list[dict[str, Any]], record: dict[str, Any]) -> list[str]:
    """What a record has in the keys in which rows of one name differ; nothing for one row."""
    keys = sorted(
        key
        for key in {key for settings in all_settings for key in settings}
        if any(each.get(key) != all_settings[0].get(key) for each in all_settings)
    )
    return [f"{key} {record['settings'].get(key, 'default')}" for key in keys]


def _row(dataset: str, runs: list[dict[str, Any]], differs: list[str]) -> dict[str, Any]:
    first = runs[0]
    seeds = sorted(record["seed"] for record in runs)
    for seed in seeds:
        if seeds.count(seed) > 1:
            names = ", ".join(record["name"] for record in runs if record["seed"] == seed)
            raise InputError(names, f"seed {seed} is there twice in a row; leave one out")
    bases = {record.get("base") for record in runs} - {None}  # early records do not have it
    if len(bases) > 1:
        names = ", ".join(record["name"] for record in runs)
        raise InputError(names, "trained on different base weights; name them by MODEL.WEIGHTS")
    means = [record["results"][dataset]["mean"] for record in runs]
    paper = paper_figure_of_run(dataset, first)
    return {
        "dataset": dataset,
        "encoder": first["encoder"],
        "method": ", ".join([first["method"], *differs]),
        "shift": first["shift"],
        "seeds": seeds,
        "steps": statistics.mean(record["steps"] for record in runs),
        "minutes": statistics.mean(record["seconds"] for record in runs) / 60,
        "metrics": {
            name: _spread([mean[name] for mean in means if mean.get(name) is not None])
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
    """The rows as a Markdown table, a newline at the end; below it what the paper's figures are."""
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
    headers.append("paper, its test images: Dice / AJI")
    table = str(tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)) + "\n"
    return f"{table}\n{PAPER_NOTE}\n" if any(row["paper"] for row in rows) else table


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
