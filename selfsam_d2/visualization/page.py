"""One self-contained HTML page: works offline, from any folder, and without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfsam_d2.errors import InputError
from selfsam_d2.files import writing
from selfsam_d2.visualization.page_style import SORT_SCRIPT, STYLE

__all__ = ["Cell", "Folded", "Page", "Picture", "Section", "Table", "render_page", "write_page"]

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        path: of the PNG or JPEG file.
        title: short; also its text alternative.
        caption: what to see in it.
        wide: shown at its own size in a frame that scrolls sideways.
        min_width: px; otherwise the picture shrinks to the page, and scrolls sideways below this.
        legend: (meaning, RGB colour) of what is drawn.
        terms: (symbol, meaning) of what is written in it, explained below it.
    """

    path: Path
    title: str
    caption: str
    wide: bool = False
    min_width: int = 0
    legend: Sequence[tuple[str, tuple[int, int, int]]] = ()
    terms: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is marked.

    Attributes:
        value: as in :class:`Table`.
        mark: ``up`` or ``down``: a change for the better or the worse.
    """

    value: str | float | None
    mark: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: of the columns; the first one names the row.
        rows: cells: text as it is, integers, floats (shown with ``digits``), None (undefined).
        footer: rows that stay at the end, however the others are sorted.
        sortable: whether a click on a heading sorts the rows, where JavaScript runs.
        digits: behind the point.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | float | Cell | None]]
    footer: Sequence[Sequence[str | float | Cell | None]] = ()
    sortable: bool = False
    digits: int = 4


@dataclass(frozen=True)
class Folded:
    """Text that is shown on demand, line by line as it is.

    Attributes:
        summary: what it is.
        text: the text.
    """

    summary: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page; texts are plain text.

    Attributes:
        title: of the part.
        parts: in their order; a string is a paragraph.
    """

    title: str
    parts: Sequence[str | Table | Picture | Folded]


@dataclass(frozen=True)
class Page:
    """A page; texts are plain text.

    Attributes:
        title: of the page.
        introduction: paragraphs.
        sections: in their order.
    """

    title: str
    introduction: Sequence[str]
    sections: Sequence[Section]


def write_page(page: Page, path: str | Path) -> None:
    """Write the page; a reader sees the old file or the whole new one.

    Raises:
        InputError: a picture cannot be read.
        OutputError: the page cannot be written.
    """
    path = Path(path)
    text = render_page(page)
    with writing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def render_page(page: Page) -> str:
    """The HTML page as text.

    Raises:
        InputError: a picture cannot be read.
    """
    title = html.escape(page.title)
    parts = [f"<h1>{title}</h1>", *map(_paragraph, page.introduction)]
    for section in page.sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [_part(part) for part in section.parts]
    body = "\n".join(parts)
    tables = [part for section in page.sections for part in section.parts]
    script = any(isinstance(part, Table) and part.sortable for part in tables)
    digest = base64.b64encode(hashlib.sha256(SORT_SCRIPT.encode()).digest()).decode("ascii")
    # Whatever a text may hold: the browser loads nothing, and runs no other script.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'" + (
        f"; script-src 'sha256-{digest}'" if script else ""
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n"
        + (f"<script>{SORT_SCRIPT}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def _part(part: str | Table | Picture | Folded) -> str:
    if isinstance(part, str):
        return _paragraph(part)
    if isinstance(part, Table):
        return _table(part)
    return _figure(part) if isinstance(part, Picture) else _folded(part)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _folded(part: Folded) -> str:
    return (
        f"<section><details><summary>{html.escape(part.summary)}</summary>\n"
        f"<pre>{html.escape(part.text)}</pre></details></section>"
    )


def _table(table: Table) -> str:
    cells = [[row[column] for row in table.rows] for column in range(len(table.header))]
    head = "".join(
        f'<th scope="col"{_kind(own)}>{html.escape(name)}</th>'
        for name, own in zip(table.header, cells, strict=True)
    )
    body, foot = (
        "\n".join(_row(row, table.digits) for row in rows) for rows in (table.rows, table.footer)
    )
    kind = ' class="sortable"' if table.sortable else ""
    return (
        f'<section class="wide"><table{kind}>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n"
        + (f"<tfoot>\n{foot}\n</tfoot>\n" if foot else "")
        + "</table></section>"
    )


def _kind(cells: Sequence[object]) -> str:
    """Texts begin at the left, numbers end at the right."""
    return ' class="text"' if any(isinstance(cell, str) for cell in cells) else ""


def _row(row: Sequence[str | float | Cell | None], digits: int) -> str:
    return f"<tr>{''.join(_cell(cell, digits) for cell in row)}</tr>"


def _cell(cell: str | float | Cell | None, digits: int) -> str:
    if isinstance(cell, Cell):
        return f'<td><span class="{html.escape(cell.mark)}">{_text(cell.value, digits)}</span></td>'
    return f"<td{_kind([cell])}>{_text(cell, digits)}</td>"


def _text(value: str | float | None, digits: int) -> str:
    if value is None:
        return "–"
    return html.escape(f"{value:.{digits}f}" if isinstance(value, float) else str(value))


def _figure(picture: Picture) -> str:
    try:
        data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    except OSError as error:
        raise InputError(picture.path, f"cannot be read ({error.strerror})") from error
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    frame = "wide" if picture.wide else "fit"
    style = f' style="min-width: {picture.min_width}px"' if picture.min_width else ""
    legend = "".join(
        f'<span><i style="background: rgb{color}"></i>{html.escape(meaning)}</span>'
        for meaning, color in picture.legend
    )
    terms = "".join(
        f"<dt>{html.escape(symbol)}</dt><dd>{html.escape(meaning)}</dd>"
        for symbol, meaning in picture.terms
    )
    media_type = MEDIA_TYPES[picture.path.suffix]
    return (
        f"<figure><figcaption><strong>{title}</strong>{caption}</figcaption>\n"
        + (f'<div class="legend">{legend}</div>\n' if legend else "")
        + f'<div class="{frame}"><img alt="{title}"{style} '
        f'src="data:{media_type};base64,{data}"></div>'
        + (f"<dl>{terms}</dl>" if terms else "")
        + "</figure>"
    )
