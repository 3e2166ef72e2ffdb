"""The checks of a COCO JSON of nuclei; each failure is one line that names file, id and remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from selfsam_d2.data.images import image_size
from selfsam_d2.data.segmentations import is_coordinate, normalised_segmentation
from selfsam_d2.data.unreadable_images import tolerated
from selfsam_d2.errors import InputError, UnreadableImageError, shortened
from selfsam_d2.files import parse_json
from selfsam_d2.structures.image_files import MAX_TEXT, require_file

__all__ = ["check_annotations", "check_image_files", "check_images", "read_coco_object"]

MOST_PATH = 1000  # characters in a message; a path of the file may have any number


def read_coco_object(json_file: Path) -> dict[str, Any]:
    """Parse the file and check that it is an object with the lists ``images`` and ``annotations``.

    Raises:
        InputError: file missing, not JSON, or without these two lists.
    """
    require_file(json_file, MAX_TEXT)
    try:
        coco = parse_json(json_file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(json_file, f"is not JSON ({error})") from error
    for key in ("images", "annotations"):
        if not isinstance(coco, dict) or not isinstance(coco.get(key), list):
            raise InputError(
                json_file, f'is not COCO: it needs an object with a list "{key}" at the top'
            )
        if not all(isinstance(entry, dict) for entry in coco[key]):
            raise InputError(json_file, f'is not COCO: "{key}" must be a list of objects')
    return coco


def check_images(json_file: Path, images: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Check the entries of ``images``.

    Returns:
        Image id -> entry, in the order of the file; ``microns_per_pixel`` may be missing or None.

    Raises:
        InputError: a key is missing or of the wrong kind, or an id or file name repeats.
    """
    by_id: dict[Any, dict[str, Any]] = {}
    names: set[str] = set()
    for image in images:
        image_id, name = image.get("id"), image.get("file_name")
        if not _is_id(image_id) or not isinstance(name, str) or not name:
            raise InputError(
                json_file,
                f'an image needs a whole number "id" and a "file_name", found {shortened(image)}',
            )
        called, number = shortened(name), shortened(image_id)
        if not all(_is_positive_int(image.get(key)) for key in ("height", "width")):
            raise InputError(json_file, f'image {called} needs "height" and "width" in pixels')
        microns = image.get("microns_per_pixel")
        if microns is not None and not (is_coordinate(microns) and microns > 0):
            raise InputError(
                json_file,
                f'image {called}: "microns_per_pixel" must be a number above 0, found '
                f"{shortened(microns)}; mend or remove it",
            )
        if image_id in by_id:
            raise InputError(json_file, f"image id {number} is there twice; ids must differ")
        if name in names:
            raise InputError(json_file, f"image {called} is there twice; list each file once")
        by_id[image_id] = image
        names.add(name)
    if not by_id:
        raise InputError(json_file, "no images; list at least one")
    return by_id


def check_annotations(
    json_file: Path, annotations: list[dict[str, Any]], images: dict[Any, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Check the entries of ``annotations`` against their images.

    Returns:
        Copies of the entries, in which an empty segmentation is None and RLE is compressed.

    Raises:
        InputError: an id is missing or repeats, the image is unknown, there is neither point nor
            mask, a crowd region has no mask, or a point is outside its image.
    """
    checked: list[dict[str, Any]] = []
    seen: set[Any] = set()
    for annotation in annotations:
        annotation_id = annotation.get("id")
        if not _is_id(annotation_id):
            raise InputError(
                json_file, f'an annotation needs a whole number "id": {shortened(annotation)}'
            )
        number = shortened(annotation_id)
        if annotation_id in seen:
            raise InputError(json_file, f"annotation id {number} is there twice; ids must differ")
        seen.add(annotation_id)
        subject = f"{json_file}: annotation {number}"
        image_id = annotation.get("image_id")
        if not _is_id(image_id) or image_id not in images:
            raise InputError(
                subject, f'is of image {shortened(image_id)}, which "images" does not list'
            )
        checked.append(_checked_annotation(annotation, images[image_id], subject))
    return checked


def check_image_files(
    json_file: Path, images: dict[Any, dict[str, Any]], image_root: Path
) -> dict[Any, Path]:
    """Check that every image is there, 8-bit RGB, and of the size that the JSON says.

    Only headers are read. A few images may be unreadable where a training goes on, see
    :func:`selfsam_d2.data.unreadable_images.tolerating`.

    Returns:
        Image id -> path.

    Raises:
        InputError: ``image_root`` is no folder, images are missing (names the first and says how
            many), an image cannot be used, or its size differs.
    """
    if not image_root.is_dir():
        raise InputError(image_root, f"no such folder; it should hold the images of {json_file}")
    files = {image_id: image_root / image["file_name"] for image_id, image in images.items()}
    missing = [path for path in files.values() if not os.path.isfile(path)]
    if len(missing) > tolerated():
        raise InputError(
            shortened(missing[0], MOST_PATH),
            f"no such file ({len(missing)} of {len(files)} images of {json_file} missing); "
            "check the image root",
        )
    unreadable = 0
    for image_id, path in files.items():
        try:
            height, width = image_size(path)
        except UnreadableImageError:
            unreadable += 1
            if unreadable > tolerated():
                raise
            continue
        if (height, width) != (images[image_id]["height"], images[image_id]["width"]):
            raise InputError(
                path,
                f"is {width} x {height} pixels (width x height), but {json_file} says "
                f"{images[image_id]['width']} x {images[image_id]['height']}",
            )
    return files


def _checked_annotation(
    annotation: dict[str, Any], image: dict[str, Any], subject: str
) -> dict[str, Any]:
    height, width = image["height"], image["width"]
    point = annotation.get("point")
    segmentation = normalised_segmentation(annotation.get("segmentation"), height, width, subject)
    if point is not None:
        _check_point(point, image, subject)
    if segmentation is None and annotation.get("iscrowd", 0) == 1:
        raise InputError(subject, "is a crowd region (iscrowd 1) without a mask; remove it")
    if segmentation is None and point is None:
        raise InputError(subject, 'has neither "point": [x, y] nor a "segmentation"; add one')
    bbox = annotation.get("bbox")
    if bbox and not (isinstance(bbox, list) and len(bbox) == 4 and all(map(is_coordinate, bbox))):
        raise InputError(
            subject, f'"bbox" must be four numbers x, y, w, h, found {shortened(bbox)}'
        )
    return {**annotation, "segmentation": segmentation}


def _check_point(point: Any, image: dict[str, Any], subject: str) -> None:
    if not isinstance(point, list) or len(point) != 2 or not all(map(is_coordinate, point)):
        raise InputError(subject, f'"point" must be two numbers [x, y], found {shortened(point)}')
    x, y = point
    if not (0 <= x < image["width"] and 0 <= y < image["height"]):
        raise InputError(
            subject,
            f"point ({x}, {y}) is outside image {shortened(image['file_name'])}, which is "
            f"{image['width']} x {image['height']} pixels (width x height); mend or remove it",
        )


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive_int(value: Any) -> bool:
    return _is_id(value) and value > 0
