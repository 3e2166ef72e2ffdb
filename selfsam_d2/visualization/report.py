"""The page of a demonstration: metrics before and after, pictures, times, config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfsam_d2.visualization.page import (
    Cell,
    Folded,
    Page,
    Picture,
    Section,
    Table,
    render_page,
    write_page,
)

__all__ = ["METRIC_MEANINGS", "Picture", "Report", "render_report", "write_report"]

METRIC_MEANINGS = {
    "Dice": "overlap of all nuclear pixels",
    "AJI": "aggregated Jaccard index: nuclei told apart (Kumar 2017)",
    "AJI_plus": "AJI with one-to-one matching",
    "AJI_fast": "AJI on connected components (Qu 2019)",
    "object_Dice": "Dice nucleus by nucleus, weighted by area",
    "DQ": "detection quality at IoU above 0.5",
    "SQ": "segmentation quality: mean IoU of the matched nuclei",
    "PQ": "panoptic quality, DQ × SQ",
    "F1": "detection F1 at IoU above 0.5",
}


@dataclass(frozen=True)
class Report:
    """What a report says; all texts are plain text.

    Attributes:
        title: of the page.
        introduction: paragraphs.
        before: metric name -> mean of the untrained model, in [0, 1], or None where undefined.
        after: the same of the trained model.
        timings: what was done -> seconds.
        facts: name -> value, such as numbers of images.
        pictures: in their order.
        config: the whole config as YAML.
    """

    title: str
    introduction: Sequence[str]
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]
    timings: Mapping[str, float]
    facts: Mapping[str, str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    config: str = ""


def write_report(report: Report, path: str | Path) -> None:
    """Write the page; a reader sees the old file or the whole new one.

    Raises:
        InputError: a picture cannot be read.
        OutputError: the page cannot be written.
    """
    write_page(_page(report), path)


def render_report(report: Report) -> str:
    """The HTML page as text.

    Raises:
        InputError: a picture cannot be read.
    """
    return render_page(_page(report))


def _page(report: Report) -> Page:
    sections = [
        Section("Before and after training", [_metrics_table(report.before, report.after)]),
        Section("Pictures", report.pictures),
        Section("Times", [_times_table(report.timings)]),
    ]
    if report.facts:
        sections.append(Section("Run", [Table(("what", "value"), list(report.facts.items()))]))
    if report.config:
        sections.append(Section("Config", [Folded("All keys and values", report.config)]))
    return Page(report.title, report.introduction, sections)


def _metrics_table(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Table:
    rows = []
    for name, new in after.items():
        old = before.get(name)
        change: Cell | None = None
        if old is not None and new is not None:
            mark = "up" if new > old else "down" if new < old else ""
            change = Cell(f"{new - old:+.4f}", mark)
        rows.append((name, old, new, change, METRIC_MEANINGS.get(name, "")))
    return Table(("metric", "before", "after", "change", "what it measures"), rows)


def _times_table(timings: Mapping[str, float]) -> Table:
    total = ("all together", sum(timings.values()))
    return Table(("step", "seconds"), list(timings.items()), footer=[total], digits=1)
