"""Which format a file of points has, by its content, and reading it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfsam_d2.data.point_files.coco_keypoints import is_coco, points_of_coco
from selfsam_d2.data.point_files.labelme import is_labelme, points_of_labelme
from selfsam_d2.data.point_files.napari import is_napari, points_of_napari
from selfsam_d2.data.point_files.point_set import PointSet, ReadOptions
from selfsam_d2.data.point_files.qupath import is_geojson, points_of_geojson
from selfsam_d2.data.point_files.table import points_of_table
from selfsam_d2.data.point_files.table_rows import parse_table
from selfsam_d2.errors import InputError
from selfsam_d2.files import parse_json
from selfsam_d2.structures.image_files import MAX_TEXT, require_file

__all__ = ["AUTO", "FORMATS", "POINT_SUFFIXES", "read_point_file"]

AUTO = "auto"
POINT_SUFFIXES = frozenset({".geojson", ".json", ".csv", ".tsv", ".txt"})
_Reader = Callable[[Path, Any, ReadOptions], dict[str | None, PointSet]]
# Name -> (whether parsed JSON is of the format, reader); no content is of two of them.
_JSON_FORMATS: dict[str, tuple[Callable[[Any], bool], _Reader]] = {
    "qupath": (is_geojson, points_of_geojson),
    "coco": (is_coco, points_of_coco),
    "labelme": (is_labelme, points_of_labelme),
}
_TABLE_FORMATS = ("csv", "napari")
FORMATS = (AUTO, "qupath", "csv", "coco", "napari", "labelme")


def read_point_file(
    path: str | Path, options: ReadOptions, file_format: str = AUTO
) -> dict[str | None, PointSet]:
    """Read the points of a file.

    Args:
        path: GeoJSON of QuPath, CSV, COCO JSON, napari's CSV, or LabelMe's JSON.
        options: unit, resolution, class of annotated regions.
        file_format: one of :data:`FORMATS`; ``auto`` looks at the content, not at the name.

    Returns:
        Name of an image -> its points in px. Where the file names no image, one entry under None:
        it belongs to the image of its own name.

    Raises:
        InputError: the file is missing, empty, broken, or not of this format, or its points
            cannot be used.
    """
    path = Path(path)
    require_file(path, MAX_TEXT)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(path, f"is not UTF-8 text ({error}); export it again") from error
    if not text.strip():
        raise InputError(path, "is empty; export the points again")
    if file_format in _TABLE_FORMATS or (
        file_format == AUTO and not text.lstrip().startswith(("{", "["))
    ):
        table = parse_table(path, text)
        if file_format == "napari" or (file_format == AUTO and is_napari(table)):
            return points_of_napari(table, options)
        return points_of_table(table, options)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error}); export it again") from error
    for name, (is_of_format, read) in _JSON_FORMATS.items():
        if file_format in (AUTO, name) and is_of_format(content):
            return read(path, content, options)
    if file_format == AUTO:
        raise InputError(path, "is neither GeoJSON of QuPath, COCO nor LabelMe; export it again")
    raise InputError(path, f"is not of the format {file_format}; try --format {AUTO}")
