"""CSV of points: x, y and, where there are such columns, class and image.

Coordinates x and y count from the upper left corner of the image, as QuPath's measurements do. Row
and column are indices of an array, whole numbers being centres of pixels: half a pixel is added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from selfsam_d2.data.point_files.point_set import (
    HALF_PIXEL,
    IGNORED_BY_QUPATH,
    PointSet,
    ReadOptions,
)
from selfsam_d2.data.point_files.table_rows import TextTable
from selfsam_d2.errors import InputError, shortened

__all__ = ["points_of_table"]

# Names of columns in lower case, words joined by "_", unit taken off.
AXIS_PATTERNS = (
    *("{}", "centroid_{}", "center_{}", "centre_{}", "coord_{}", "coordinate_{}", "pos_{}"),
    *("position_{}", "point_{}", "location_{}", "location_center_{}", "c{}", "{}m"),
    *("{}_centroid", "{}_center", "{}_centre", "{}_coord", "{}_coordinate", "{}_pos"),
)
# (names of x, names of y) -> what is added, px.
KINDS = {
    (
        tuple(pattern.format("x") for pattern in AXIS_PATTERNS),
        tuple(pattern.format("y") for pattern in AXIS_PATTERNS),
    ): 0.0,
    (("col", "column"), ("row",)): HALF_PIXEL,
}
CLASS_NAMES = ("class", "classification", "class_name", "label", "category", "type", "cell_type")
IMAGE_NAMES = ("image", "image_name", "file", "file_name", "filename", "slide")
UNIT_WORDS = {"px": "px", "pixel": "px", "pixels": "px"} | dict.fromkeys(
    ("um", "micron", "microns", "micrometer", "micrometre"), "um"
)
# QuPath's table of measurements has a row per object, regions included.
OBJECT_TYPE, ROI, POINT_COUNT = "object_type", "roi", "num_points"


@dataclass(frozen=True)
class _Columns:
    """Positions of the columns in a row, None where there is none; what is added to x and y, px."""

    x: int
    y: int
    shift: float
    unit: str | None
    class_name: int | None
    image: int | None
    object_type: int | None
    roi: int | None
    point_count: int | None


def points_of_table(table: TextTable, options: ReadOptions) -> dict[str | None, PointSet]:
    """Read one point a row.

    Args:
        table: without a header its columns are x, y and, if there is a third one, class.
        options: unit; a unit in the names of the columns counts where none is given.

    Returns:
        Name in the column of the image -> its points; under None without such a column.

    Raises:
        InputError: no columns for x and y, or for row and column, a cell that is no finite
            number, or a row that stands for several points.
    """
    columns = _find_columns(table, options.unit)
    factor = options.pixels_per_unit(table.path, columns.unit)
    found: dict[str | None, PointSet] = {} if columns.image is not None else {None: PointSet()}
    for line, cells in table.rows:
        name = None if columns.image is None else table.text(cells, columns.image)
        if name == "":
            raise InputError(table.path, f"line {line} names no image; fill the column in")
        points = found.setdefault(name, PointSet())
        if _is_outline(table, columns, cells):
            points.unused_outlines += 1
            continue
        _check_single(table, columns, line, cells)
        class_name = _text(table, cells, columns.class_name)
        if columns.object_type is not None and class_name.endswith(IGNORED_BY_QUPATH):
            points.ignored += 1
            continue
        x, y = (table.number(line, cells, column) * factor for column in (columns.x, columns.y))
        points.add((x + columns.shift, y + columns.shift), class_name)
    return found


def _find_columns(table: TextTable, wanted_unit: str | None) -> _Columns:
    if table.header is None:
        third = 2 if table.rows and len(table.rows[0][1]) > 2 else None
        return _Columns(0, 1, 0.0, None, third, None, None, None, None)
    names = [_name_and_unit(cell) for cell in table.header]
    # QuPath can write both units side by side: the one that is asked for, then px. Both columns
    # are of one kind: x beside row would be two frames.
    units = dict.fromkeys((wanted_unit, "px", None, "um"))
    for unit, (kind, shift) in product(units, KINDS.items()):
        x, y = (_find(names, wanted, unit) for wanted in kind)
        if x is not None and y is not None:
            others = (CLASS_NAMES, IMAGE_NAMES, (OBJECT_TYPE,), (ROI,), (POINT_COUNT,))
            return _Columns(x, y, shift, unit, *(_find(names, wanted, None) for wanted in others))
    found = shortened(", ".join(table.header))
    raise InputError(table.path, f"has no columns x and y, found {found}; name them x and y")


def _find(
    names: list[tuple[str, str | None]], wanted: tuple[str, ...], unit: str | None
) -> int | None:
    """The first column of one of the wanted names, in their order, with this unit."""
    for name in wanted:
        if (name, unit) in names:
            return names.index((name, unit))
    return None


def _name_and_unit(header: str) -> tuple[str, str | None]:
    """``Centroid X µm`` -> ``centroid_x``, ``um``."""
    # The micro sign and the Greek letter look alike.
    text = header.lower().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    words = re.findall(r"[a-z0-9]+", text)
    unit = UNIT_WORDS.get(words[-1]) if len(words) > 1 else None
    return "_".join(words[:-1] if unit else words), unit


def _text(table: TextTable, cells: list[str], column: int | None) -> str:
    return "" if column is None else table.text(cells, column)


def _is_outline(table: TextTable, columns: _Columns, cells: list[str]) -> bool:
    """Whether a row of QuPath's measurements is a drawn area, not a nucleus."""
    is_annotation = _text(table, cells, columns.object_type).lower().endswith("annotation")
    roi = _text(table, cells, columns.roi).lower()
    return is_annotation and bool(roi) and not roi.startswith("point")


def _check_single(table: TextTable, columns: _Columns, line: int, cells: list[str]) -> None:
    count = _text(table, cells, columns.point_count)
    if count and table.as_number(count) > 1:
        raise InputError(
            table.path,
            f"line {line} is the mean of {shortened(count)} points (QuPath measures a set of "
            "points as one object); export GeoJSON instead",
        )
