"""COCO annotations as masks: one of them in whichever form it is given, all of them as a map.

Legend: H, W: height and width of the image in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from numpy.typing import NDArray

from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["annotation_to_rle", "annotations_to_map", "crowd_mask", "paint_masks"]


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


def annotations_to_map(
    annotations: Sequence[Mapping[str, Any]], height: int, width: int
) -> NDArray[np.int32]:
    """Paint COCO annotations into an instance map.

    Args:
        annotations: each with ``segmentation``; ``iscrowd`` = 1 marks an area of nuclei that were
            not told apart.
        height: H.
        width: W.

    Returns:
        (H, W) instance map: annotation k has id k + 1, earlier ones win where two overlap; -1 where
        only a crowd annotation lies.

    Raises:
        ValueError: if a mask is malformed.
    """
    instance_map = np.zeros((height, width), dtype=np.int32)
    rles = [annotation_to_rle(entry["segmentation"], height, width) for entry in annotations]
    crowd = [bool(entry.get("iscrowd", 0)) for entry in annotations]
    nuclei = [index for index in range(len(rles)) if not crowd[index]]
    crowds = [index for index in range(len(rles)) if crowd[index]]
    paint_masks(instance_map, ((rles[index], index + 1) for index in nuclei))
    paint_masks(instance_map, ((rles[index], IGNORE) for index in crowds))
    return instance_map


def crowd_mask(
    annotations: Iterable[Mapping[str, Any]], height: int, width: int
) -> NDArray[np.bool_] | None:
    """Where the crowd regions of an image lie.

    Args:
        annotations: those with ``iscrowd`` = 1 have a ``segmentation``; of others it is not read.
        height: H.
        width: W.

    Returns:
        (H, W); None where there is no crowd region.

    Raises:
        ValueError: if a mask is malformed.
    """
    rles = [
        annotation_to_rle(entry["segmentation"], height, width)
        for entry in annotations
        if entry.get("iscrowd", 0)
    ]
    if not rles:
        return None
    mask: NDArray[np.bool_] = coco_mask.decode(coco_mask.merge(rles)).astype(bool)
    return mask


def paint_masks(
    instance_map: NDArray[np.int32], masks: Iterable[tuple[dict[str, Any], int]]
) -> None:
    """Write each id where its mask lies on background, in place; only the box of it is touched."""
    for rle, value in masks:
        x, y, width, height = (int(side) for side in coco_mask.toBbox(rle))
        window = (slice(y, y + height), slice(x, x + width))
        free = coco_mask.decode(rle)[window].astype(bool) & (instance_map[window] == 0)
        instance_map[window][free] = value
