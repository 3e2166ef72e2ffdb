"""COCO segmentations (polygons, RLE): check their form, make the point of a nucleus from one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as mask_util

from selfsam_d2.errors import InputError, shortened
from selfsam_d2.structures.centre import nucleus_centre
from selfsam_d2.structures.image_files import DECODE_ERRORS, decode_problem

__all__ = ["centre_of_segmentation", "is_coordinate", "normalised_segmentation"]

_MIN_POLYGON_VALUES = 6
# Far beyond any image; rasterising an edge costs time and memory in proportion to its length.
_LARGEST_COORDINATE = 1e6
# Seven characters of five bits hold any run of 32 bits.
_LARGEST_SHIFT = 30


def is_coordinate(value: Any) -> bool:
    """Whether a value from JSON is a number that can be a coordinate or length in pixels."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -_LARGEST_COORDINATE < value < _LARGEST_COORDINATE


def normalised_segmentation(
    segmentation: Any, height: int, width: int, subject: str
) -> list[list[float]] | dict[str, Any] | None:
    """Check the form of a segmentation; uncompressed RLE becomes compressed.

    Args:
        segmentation: the value in the JSON: polygons [[x, y, x, y, ...], ...] or RLE.
        height, width: size of the image, in pixels.
        subject: names file and annotation in messages.

    Returns:
        Polygons, or RLE with counts as str; None where there is none (missing or empty).

    Raises:
        InputError: neither polygons nor RLE of this image size.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        return _checked_polygons(segmentation, subject)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise InputError(subject, "segmentation is neither a list of polygons nor RLE")
    if segmentation.get("size") != [height, width]:
        raise InputError(
            subject,
            f"segmentation has size {shortened(segmentation.get('size'))}, its image "
            f"[{height}, {width}]",
        )
    counts = segmentation["counts"]
    if isinstance(counts, list):
        _check_counts(counts, height * width, subject)
        rle = mask_util.frPyObjects(segmentation, height, width)
        return {"size": [height, width], "counts": rle["counts"].decode("ascii")}
    if not isinstance(counts, str):
        raise InputError(subject, "segmentation has RLE counts that are neither text nor a list")
    _check_counts(_uncompressed_counts(counts, subject), height * width, subject)
    return {"size": [height, width], "counts": counts}


def centre_of_segmentation(
    segmentation: Any,
    height: int,
    width: int,
    rule: str,
    subject: str,
) -> list[float]:
    """The point [x, y] of a nucleus from what :func:`normalised_segmentation` returned.

    Raises:
        InputError: the mask has no pixel or cannot be decoded.
    """
    try:
        if isinstance(segmentation, dict):
            mask = np.asarray(mask_util.decode(segmentation))
            left = top = 0
        else:
            mask, left, top = _rasterised_window(segmentation, height, width)
    except DECODE_ERRORS as error:
        problem = decode_problem(error, f"cannot be decoded ({error})")
        raise InputError(subject, f"segmentation {problem}") from error
    if not mask.any():
        raise InputError(subject, 'mask has no pixel in the image; give it a "point" or remove it')
    x, y = nucleus_centre(mask, rule).tolist()
    return [x + left, y + top]


def _rasterised_window(
    polygons: list[list[float]], height: int, width: int
) -> tuple[npt.NDArray[np.uint8], int, int]:
    """The mask in the polygons' own window, and the window's left column and top row.

    Shifting by whole pixels does not change which pixels are set; a window spares a mask of the
    whole image per nucleus.
    """
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    left = min(max(math.floor(min(xs)), 0), width - 1)
    top = min(max(math.floor(min(ys)), 0), height - 1)
    right = min(max(math.ceil(max(xs)), left + 1), width)
    bottom = min(max(math.ceil(max(ys)), top + 1), height)
    shifted = [
        [value - (left, top)[position % 2] for position, value in enumerate(polygon)]
        for polygon in polygons
    ]
    rles = mask_util.frPyObjects(shifted, bottom - top, right - left)
    return np.asarray(mask_util.decode(mask_util.merge(rles))), left, top


def _checked_polygons(polygons: list[Any], subject: str) -> list[list[float]]:
    for polygon in polygons:
        is_numeric = isinstance(polygon, list) and all(map(is_coordinate, polygon))
        if not is_numeric or len(polygon) < _MIN_POLYGON_VALUES or len(polygon) % 2:
            raise InputError(
                subject, "a polygon is a list x, y, x, y, ... of at least three vertices"
            )
    return polygons


def _uncompressed_counts(text: str, subject: str) -> list[int]:
    """The run lengths in the text form of COCO.

    Each is a little-endian number of 5 bits per character (code - 48), bit 5 set if more follow
    and bit 4 of the last one the sign; from the fourth run on, the difference to the run two
    before. Decoded here because pycocotools writes beyond its memory on text that is damaged.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > _LARGEST_SHIFT:
            raise InputError(subject, "segmentation has damaged RLE counts; export it again")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise InputError(subject, "segmentation has truncated RLE counts; export it again")
    return counts


def _check_counts(counts: list[Any], pixels: int, subject: str) -> None:
    if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != pixels:
        raise InputError(subject, f"RLE counts must be whole numbers >= 0 with the sum {pixels}")
