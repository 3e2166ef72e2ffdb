"""Instance maps from predicted masks.

Legend: N: number of masks; H, W: height and width of the image in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as coco_mask
from detectron2.structures import Instances
from numpy.typing import NDArray

from selfsam_d2.structures.annotation_masks import paint_masks
from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["instances_to_map", "predicted_map", "results_to_map"]


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
    masks = instances.pred_masks
    if isinstance(masks, RLEMasks):
        rles = masks.rles
    else:
        rles = [
            coco_mask.encode(np.asfortranarray(mask.cpu().numpy(), dtype=np.uint8))
            for mask in masks
        ]
    return _paint(rles, instances.scores.detach().cpu().numpy(), instances.image_size)


def predicted_map(output: Mapping[str, Any], min_score: float = 0.0) -> NDArray[np.integer[Any]]:
    """The instance map of what a model predicts for an image.

    Args:
        output: with ``instance_map``, (H, W) integers, 0 background; else ``instances`` as
            :func:`instances_to_map` takes them.
        min_score: of the instances that are painted, in [0, 1].
    """
    if "instance_map" in output:
        return np.asarray(output["instance_map"].detach().cpu().numpy())
    instances = output["instances"]
    return instances_to_map(instances[instances.scores >= min_score])


def results_to_map(
    results: Sequence[Mapping[str, Any]], height: int, width: int, min_score: float = 0.0
) -> NDArray[np.int32]:
    """As :func:`instances_to_map`, from the results that COCO evaluators write.

    Args:
        results: of one image, each with ``segmentation`` (a run-length dict) and ``score``.
        height: H.
        width: W.
        min_score: of the results that are painted, in [0, 1].

    Raises:
        ValueError: a mask is of another size.
    """
    chosen = [result for result in results if result["score"] >= min_score]
    rles = RLEMasks([result["segmentation"] for result in chosen], height, width).rles
    scores = np.array([result["score"] for result in chosen], dtype=np.float64)
    return _paint(rles, scores, (height, width))


def _paint(
    rles: Sequence[dict[str, Any]], scores: NDArray[np.floating[Any]], size: tuple[int, int]
) -> NDArray[np.int32]:
    instance_map = np.zeros(size, dtype=np.int32)
    order = np.argsort(-scores, kind="stable").tolist()
    paint_masks(instance_map, ((rles[index], rank) for rank, index in enumerate(order, start=1)))
    return instance_map
