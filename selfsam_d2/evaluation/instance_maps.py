"""Instance maps from predicted masks.

Legend: N: number of masks; H, W: height and width of the image in pixels.
"""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco_mask
from detectron2.structures import Instances
from numpy.typing import NDArray

from selfsam_d2.structures.annotation_masks import paint_masks
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["instances_to_map"]


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
    paint_masks(instance_map, ((rle, position + 1) for position, rle in enumerate(rles)))
    return instance_map
