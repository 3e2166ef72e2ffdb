"""napari's CSV of a points layer: index, axis-0, axis-1 (row, column), of stacks also axis-2.

napari puts whole numbers on the centres of pixels: half a pixel is added.
"""

from __future__ import annotations

from selfsam_d2.data.point_files.point_set import HALF_PIXEL, PointSet, ReadOptions
from selfsam_d2.data.point_files.table_rows import TextTable
from selfsam_d2.errors import InputError

__all__ = ["is_napari", "points_of_napari"]

AXIS = "axis-"


def is_napari(table: TextTable) -> bool:
    """Whether the header has napari's names."""
    return table.header is not None and {"axis-0", "axis-1"} <= set(table.header)


def points_of_napari(table: TextTable, options: ReadOptions) -> dict[str | None, PointSet]:
    """Read one point a row; the last two axes are row and column.

    Args:
        table: with the columns ``axis-0`` and ``axis-1``; leading axes must have one value. Columns
            that napari adds for features: ``class`` or ``label`` is the class.
        options: unit.

    Returns:
        One entry, under None: the file names no image.

    Raises:
        InputError: another header, points on several slices of a stack, or a cell that is no
            finite number.
    """
    if not is_napari(table) or table.header is None:
        raise InputError(table.path, "is not napari's CSV: it has no columns axis-0 and axis-1")
    factor = options.pixels_per_unit(table.path)
    axes = sorted(name for name in table.header if name.startswith(AXIS))
    *leading, row, column = (table.header.index(name) for name in axes)
    labels = [table.header.index(name) for name in ("class", "label") if name in table.header]
    found = PointSet()
    planes = set()
    for line, cells in table.rows:
        y, x = (table.number(line, cells, each) for each in (row, column))
        planes.add(tuple(table.number(line, cells, each) for each in leading))
        class_name = table.text(cells, labels[0]) if labels else ""
        found.add((x * factor + HALF_PIXEL, y * factor + HALF_PIXEL), class_name)
    if len(planes) > 1:
        raise InputError(
            table.path, f"has points on {len(planes)} planes of a stack; save each image's own"
        )
    return {None: found}
