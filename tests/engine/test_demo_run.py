from __future__ import annotations

from pathlib import Path

import pytest

from selfsam_d2.engine.demo import DemoOptions, DemoRun
from selfsam_d2.engine.demo_report import format_comparison
from selfsam_d2.engine.validation import Evaluation


def make_run(before, after):
    return DemoRun(
        options=DemoOptions(output=Path("out"), config_file=Path("demo.yaml")),
        config=None,
        before=Evaluation(mean=before, images={}, maps={}),
        after=Evaluation(mean=after, images={}, maps={}),
        timings={},
        overlays=[],
        label_figures=[],
        curves=Path("curves.png"),
        facts={},
    )


@pytest.mark.parametrize(
    ("before", "after", "improved"),
    [
        ((0.2, 0.3), (0.3, 0.4), True),
        ((0.0, 0.0), (0.0, 0.0), False),
        ((0.2, 0.3), (0.3, 0.3), False),
        ((0.2, 0.3), (0.2, 0.4), False),
        ((0.2, 0.3), (0.1, 0.9), False),
        ((None, None), (0.1, 0.1), True),
        ((0.1, 0.1), (None, None), False),
    ],
)
def test_both_deciding_metrics_must_rise(before, after, improved):
    names = ("AJI", "Dice")
    run = make_run(dict(zip(names, before, strict=True)), dict(zip(names, after, strict=True)))
    assert run.improved is improved


def test_table_shows_what_is_undefined():
    run = make_run({"AJI": 0.25, "SQ": None}, {"AJI": 0.125, "SQ": 0.5})
    rows = [line.split() for line in format_comparison(run).splitlines()[2:]]
    assert rows == [["AJI", "0.2500", "0.1250", "-0.1250"], ["SQ", "-", "0.5000", "-"]]
