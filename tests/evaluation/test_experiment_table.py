"""The table of runs: groups, means and deviations, and the figures beside them."""

import csv
import io
import statistics

import pytest

from selfsam_d2.evaluation.experiment_table import (
    METRICS,
    format_csv,
    format_markdown,
    summarise_records,
)
from selfsam_d2.evaluation.paper import paper_figure


def record(aji, seed=0, method="self-refining", shift=0.0, dataset="monuseg_val", **rest):
    mean = {name: aji + 0.01 * place for place, name in enumerate(METRICS)}
    mean["AJI"] = aji
    return {
        "encoder": "vit_t",
        "method": method,
        "shift": shift,
        "seed": seed,
        "steps": 100,
        "seconds": 600,
        "results": {dataset: {"mean": mean}},
        **rest,
    }


def test_seeds_of_one_row_are_averaged_and_nothing_else():
    rows = summarise_records(
        [
            record(0.50, seed=1),
            record(0.54, seed=0, steps=300),
            record(0.40, method="static"),
            record(0.30, shift=8.0),
            record(0.20, dataset="tnbc_val"),
        ]
    )
    assert [(row["dataset"], row["shift"], row["method"]) for row in rows] == [
        ("monuseg_val", 0.0, "static"),
        ("monuseg_val", 0.0, "self-refining"),
        ("monuseg_val", 8.0, "self-refining"),
        ("tnbc_val", 0.0, "self-refining"),
    ]
    ours = rows[1]
    assert ours["seeds"] == [0, 1]
    assert ours["steps"] == 200
    assert ours["minutes"] == pytest.approx(10)
    assert ours["metrics"]["AJI"]["mean"] == pytest.approx(0.52)
    assert ours["metrics"]["AJI"]["sd"] == pytest.approx(statistics.stdev([0.50, 0.54]))
    assert rows[0]["metrics"]["AJI"] == {"mean": 0.40, "sd": None}


def test_what_is_not_defined_is_left_out_of_the_mean():
    empty = record(0.5)
    empty["results"]["monuseg_val"]["mean"]["PQ"] = None
    (row,) = summarise_records([empty, record(0.6, seed=1)])
    assert row["metrics"]["PQ"]["sd"] is None
    (nothing,) = summarise_records([empty])
    assert nothing["metrics"]["PQ"] == {"mean": None, "sd": None}
    assert "–" in format_markdown([nothing])


def test_the_figures_of_the_paper_stand_beside_their_row():
    assert paper_figure("consep", "vit_h", "self-refining", 8) == pytest.approx((0.673, 0.410))
    assert paper_figure("consep", "vit_h", "self-refining", 8.5) is None
    assert paper_figure("monuseg", "vit_t", "self-refining", 0) is None
    rows = summarise_records(
        [record(0.5, encoder="vit_b", dataset="monuseg_test"), record(0.5, dataset="mine")]
    )
    assert rows[0]["paper"] is None
    assert rows[1]["paper"] == pytest.approx({"Dice": 0.7522, "AJI": 0.5353})
    markdown = format_markdown(rows)
    assert "0.752 / 0.535" in markdown


def test_markdown_and_csv_hold_every_row():
    rows = summarise_records([record(0.5), record(0.52, seed=1), record(0.4, method="static")])
    lines = format_markdown(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert "0.510 ± 0.014" in lines[3]
    read = list(csv.DictReader(io.StringIO(format_csv(rows))))
    assert [float(row["AJI_mean"]) for row in read] == pytest.approx([0.4, 0.51])
    assert read[0]["AJI_sd"] == ""
    assert read[1]["seeds"] == "0 1"
