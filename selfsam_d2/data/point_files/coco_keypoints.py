"""COCO JSON with keypoints, or with the ``point`` of this package.

COCO's keypoints are indices of pixels: as Detectron2 does, half a pixel is added. A ``point`` is in
the frame of this package already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsam_d2.data.point_files.point_set import (
    HALF_PIXEL,
    PointSet,
    ReadOptions,
    as_coordinates,
)
from selfsam_d2.errors import InputError, shortened

__all__ = ["is_coco", "points_of_coco"]

VALUES = 3  # of a keypoint: x, y and visibility
NOT_LABELLED = 0


def is_coco(content: Any) -> bool:
    """Whether parsed JSON is an object with ``images`` and ``annotations``."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def points_of_coco(path: Path, content: Any, options: ReadOptions) -> dict[str | None, PointSet]:
    """Read every keypoint that is labelled (visibility above 0), and every ``point``.

    Args:
        path: for messages.
        content: parsed JSON for which :func:`is_coco` holds.
        options: unit.

    Returns:
        Name of the image without folder -> its points, for every image that the file lists; the
        name of the category is the class.

    Raises:
        InputError: an entry is of another form, names an unknown image, has no point, or is a
            crowd region, or coordinates are no finite numbers.
    """
    factor = options.pixels_per_unit(path)
    found: dict[str | None, PointSet] = {}
    by_id: dict[Any, PointSet] = {}
    for image in _objects(path, content, "images"):
        name = image.get("file_name")
        if not isinstance(name, str) or not name or not isinstance(image.get("id"), (int, str)):
            raise InputError(
                path, f'an image needs an "id" and a "file_name", found {shortened(image)}'
            )
        by_id[image["id"]] = found.setdefault(Path(name).name, PointSet())
    names = {
        each["id"]: str(each.get("name", ""))
        for each in _objects(path, content, "categories")
        if isinstance(each.get("id"), (int, str))
    }
    for number, annotation in enumerate(_objects(path, content, "annotations"), start=1):
        subject = f"annotation {shortened(annotation.get('id', f'number {number}'))}"
        if annotation.get("iscrowd", 0):
            raise InputError(path, f"{subject} is a crowd region; remove it, points are read here")
        image_id = annotation.get("image_id")
        if not isinstance(image_id, (int, str)) or image_id not in by_id:
            raise InputError(
                path, f'{subject} is of image {shortened(image_id)}, which "images" lacks'
            )
        category = annotation.get("category_id")
        class_name = names.get(category, "") if isinstance(category, (int, str)) else ""
        for x, y in _positions(path, subject, annotation, factor):
            by_id[image_id].add((x, y), class_name)
    return found


def _objects(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InputError(path, f'is not COCO: "{key}" must be a list of objects')
    return entries


def _positions(
    path: Path, subject: str, annotation: dict[str, Any], factor: float
) -> list[tuple[float, float]]:
    """The positions of an annotation in px."""
    if annotation.get("point") is not None:
        x, y = as_coordinates(annotation["point"], path, subject, counts=(2,))
        return [(x * factor, y * factor)]
    if "keypoints" not in annotation:
        raise InputError(path, f'{subject} has neither "keypoints" nor "point"; add one of them')
    values = as_coordinates(annotation["keypoints"], path, subject)
    if len(values) % VALUES:
        raise InputError(path, f"{subject} has keypoints that are not x, y, visibility in turn")
    return [
        (x * factor + HALF_PIXEL, y * factor + HALF_PIXEL)
        for x, y, visibility in zip(values[::3], values[1::3], values[2::3], strict=True)
        if visibility > NOT_LABELLED
    ]
