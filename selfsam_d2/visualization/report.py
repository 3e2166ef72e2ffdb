"""One self-contained HTML page of a training: works offline, without scripts, from any folder."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfsam_d2.errors import InputError

__all__ = ["Picture", "Report", "render_report", "write_report"]

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1d2530; background: #f5f6f8; margin: 0; }
main { max-width: 1200px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
p { max-width: 75ch; margin: .5rem 0; }
section, figure { background: #fff; border: 1px solid #dde1e7; border-radius: 8px; }
section { padding: .5rem 1.25rem 1rem; }
figure { margin: 0 0 1.25rem; padding: 1rem; }
figcaption { margin-bottom: .75rem; max-width: 95ch; }
figcaption strong { display: block; }
.wide { overflow-x: auto; }
.wide img { max-width: none; }
img { max-width: 100%; height: auto; display: block; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .75rem 0; }
th, td { padding: .35rem .9rem; border-bottom: 1px solid #e3e7ec; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #9aa5b4; }
.up { color: #0b6b34; font-weight: 600; }
.down { color: #a61b1b; font-weight: 600; }
pre { overflow-x: auto; background: #f0f2f5; padding: 1rem; border-radius: 6px; font-size: 13px; }
summary { cursor: pointer; font-weight: 600; }
""".strip()

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
class Picture:
    """A PNG of the report.

    Attributes:
        path: of the PNG file.
        title: short; also its text alternative.
        caption: what to see in it.
        wide: shown at its own size in a frame that scrolls sideways.
    """

    path: Path
    title: str
    caption: str
    wide: bool = False


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
        InputError: a picture cannot be read or the page not be written.
    """
    path = Path(path)
    text = render_report(report)
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})") from error


def render_report(report: Report) -> str:
    """The HTML page as text.

    Raises:
        InputError: a picture cannot be read.
    """
    title = html.escape(report.title)
    paragraphs = "\n".join(f"<p>{html.escape(text)}</p>" for text in report.introduction)
    parts = [
        f"<h1>{title}</h1>\n{paragraphs}",
        f"<h2>Before and after training</h2>\n{_metrics_table(report.before, report.after)}",
        "<h2>Pictures</h2>",
        *(_figure(picture) for picture in report.pictures),
        f"<h2>Times</h2>\n{_table(('step', 'seconds'), _timing_rows(report.timings))}",
    ]
    if report.facts:
        rows = [(name, html.escape(value)) for name, value in report.facts.items()]
        parts.append(f"<h2>Run</h2>\n{_table(('what', 'value'), rows)}")
    if report.config:
        parts.append(
            "<h2>Config</h2>\n<section><details><summary>All keys and values</summary>\n"
            f"<pre>{html.escape(report.config)}</pre></details></section>"
        )
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _metrics_table(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> str:
    rows = []
    for name in after:
        old, new = before.get(name), after[name]
        change = "–"
        if old is not None and new is not None:
            direction = "up" if new > old else "down" if new < old else ""
            change = f'<span class="{direction}">{new - old:+.4f}</span>'
        meaning = html.escape(METRIC_MEANINGS.get(name, ""))
        rows.append((name, _number(old), _number(new), change, meaning))
    return _table(("metric", "before", "after", "change", "what it measures"), rows)


def _timing_rows(timings: Mapping[str, float]) -> list[tuple[str, str]]:
    rows = [(name, f"{seconds:.1f}") for name, seconds in timings.items()]
    return [*rows, ("all together", f"{sum(timings.values()):.1f}")]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is plain text and whose other cells are HTML."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "\n".join(
        f"<tr><td>{html.escape(row[0])}</td>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        f'<section class="wide"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></section>"
    )


def _figure(picture: Picture) -> str:
    try:
        data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    except OSError as error:
        raise InputError(picture.path, f"cannot be read ({error.strerror})") from error
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    frame = "wide" if picture.wide else "fit"
    return (
        f"<figure><figcaption><strong>{title}</strong>{caption}</figcaption>\n"
        f'<div class="{frame}"><img alt="{title}" src="data:image/png;base64,{data}"></div>'
        "</figure>"
    )
