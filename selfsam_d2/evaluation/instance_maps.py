"""Instance maps from annotations and from predicted masks.

Legend: N: number of masks; H, W: height and width of the image in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from detectron2.structures import Instances
from numpy.typing import NDArray

from selfsam_d2.structures.annotation_masks import annotation_to_rle
from selfsam_d2.structures.labels import IGNORE
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["annotations_to_map", "instances_to_map"]


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
    _paint(instance_map, ((rles[index], index + 1) for index in nuclei))
    _paint(instance_map, ((rles[index], IGNORE) for index in crowds))
    return instance_map


def instances_to_map(instances: Instances) -> NDArray[np.int32]:
    """Paint predicted masks into an instance map, as for models that predict masks one by one.

    Args:
        instances: with ``pred_masks`` ((N, H, W) of bool, or :class:`RLEMasks`) and ``scores``.

    Returns:
        (H, W) instance map: the mask of the highest score has id 1, and where two overlap the
        higher score wins (ties: the earlier one).

    Raises:
        ValueError: if there is no field ``pred_masks``.
    """
    if not instances.has("pred_masks"):
        raise ValueError("Expected `instances` to have the field `pred_masks`.")
    height, width = instances.image_size
    instance_map = np.zeros((height, width), dtype=np.int32)
    masks = instances.pred_masks
    order = np.argsort(-instances.scores.detach().cpu().numpy(), kind="stable").tolist()
    if not isinstance(masks, RLEMasks):
        rles = [
            coco_mask.encode(np.asfortranarray(masks[index].cpu().numpy(), dtype=np.uint8))
            for index in order
        ]
    else:
        rles = [masks.rles[index] for index in order]
    _paint(instance_map, ((rle, position + 1) for position, rle in enumerate(rles)))
    return instance_map


def _paint(instance_map: NDArray[np.int32], masks: Iterable[tuple[dict[str, Any], int]]) -> None:
    """Write each id where its mask lies on background; only the box of a mask is touched."""
    for rle, value in masks:
        x, y, width, height = (int(side) for side in coco_mask.toBbox(rle))
        window = (slice(y, y + height), slice(x, x + width))
        free = coco_mask.decode(rle)[window].astype(bool) & (instance_map[window] == 0)
        instance_map[window][free] = value
