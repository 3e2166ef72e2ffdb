"""The mask of a COCO annotation, in whichever form it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pycocotools.mask as coco_mask

from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["annotation_to_rle"]


def annotation_to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Encode the mask of a COCO annotation.

    Args:
        segmentation: a list of polygons [x0, y0, x1, y1, …] (their union), or a run-length dict
            with compressed or uncompressed counts.
        height: H.
        width: W.

    Returns:
        A compressed COCO run length of H x W pixels.

    Raises:
        ValueError: if a polygon has fewer than 3 points or a run length is incomplete or of
            another size.
    """
    if isinstance(segmentation, Mapping):
        if not {"size", "counts"} <= segmentation.keys():
            raise ValueError("Expected a run-length dict with `size` and `counts`.")
        return RLEMasks([dict(segmentation)], height, width).rles[0]
    polygons = [list(map(float, polygon)) for polygon in segmentation]
    short = [polygon for polygon in polygons if len(polygon) < 6 or len(polygon) % 2]
    if short or not polygons:
        raise ValueError("Expected polygons of at least 3 points [x0, y0, x1, y1, x2, y2, …].")
    merged: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return merged
