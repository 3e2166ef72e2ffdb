"""From an instance map to Detectron2's ``Instances``, without a dense mask per nucleus.

Shape legend:
    H, W: height and width of the image, px
    N: number of nuclei in the map
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances
from numpy.typing import NDArray

from selfsam_d2.structures.rle_masks import RLEMasks

__all__ = ["instance_scores", "instances_from_map"]


def instance_scores(
    foreground: NDArray[np.floating[Any]], instance_map: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    r"""Score of each nucleus: the mean foreground probability inside it.

    .. math:: s_k = \frac{1}{|\Omega_k|} \sum_{j \in \Omega_k} B_j

    Args:
        foreground: :math:`B`, (H, W) probabilities in [0, 1].
        instance_map: (H, W) integers; 0 background, 1..N nuclei (gaps allowed), -1 ignore.

    Returns:
        (N,) float32 in [0, 1], in ascending order of the ids.

    Raises:
        ValueError: if the two are not two-dimensional and of the same shape.
    """
    if instance_map.ndim != 2 or foreground.shape != instance_map.shape:
        raise ValueError(
            "Expected arguments `foreground` and `instance_map` to be of one shape (H, W), but got "
            f"{foreground.shape} and {instance_map.shape}."
        )
    inside = instance_map > 0
    _, nucleus, area = np.unique(instance_map[inside], return_inverse=True, return_counts=True)
    total = np.bincount(nucleus, weights=foreground[inside], minlength=len(area))
    return (total / area).astype(np.float32)


def instances_from_map(
    instance_map: NDArray[np.integer[Any]], foreground: NDArray[np.floating[Any]]
) -> Instances:
    """Describe the nuclei of an image as Detectron2 predictions.

    Args:
        instance_map: (H, W) integers; 0 background, 1..N nuclei (gaps allowed), -1 ignore.
        foreground: (H, W) probabilities in [0, 1], for the scores.

    Returns:
        Instances of image size (H, W), in ascending order of the ids, with ``pred_boxes`` (Boxes,
        tight XYXY in continuous pixel coordinates), ``scores`` (N,) float32, ``pred_classes``
        (N,) int64 zeros and ``pred_masks`` (:class:`RLEMasks`).

    Raises:
        ValueError: if the two are not two-dimensional and of the same shape.
    """
    scores = instance_scores(foreground, instance_map)
    height, width = instance_map.shape
    masks = RLEMasks.from_instance_map(instance_map)
    return Instances(
        (height, width),
        pred_boxes=masks.bounding_boxes(),
        scores=torch.from_numpy(scores),
        pred_classes=torch.zeros(len(scores), dtype=torch.int64),
        pred_masks=masks,
    )
