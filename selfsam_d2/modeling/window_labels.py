"""S_P and S_I of a whole training image, window by window, as the hook stores them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsam_d2.modeling.crop_labels import label_crop
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.sliding_window import keep_centres, mirror_to_window, window_grid
from selfsam_d2.pseudo_labels.statistics import label_statistics
from selfsam_d2.structures.labels import IGNORE

__all__ = ["label_image"]


@torch.no_grad()
def label_image(
    model: SelfSAM,
    image: Tensor,
    points: Tensor,
    *,
    image_id: int | str,
    window: int,
    overlap: int,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Labels of a whole image with the model as it is.

    Each pixel takes its label from the window whose centre is nearest, so that nuclei are seen
    whole wherever they are smaller than half the overlap. An image smaller than the window is
    mirrored beyond its borders.

    Args:
        model: with its ``alpha``, ``consensus`` and ``reprompts`` set.
        image: (3, H, W) uint8 RGB.
        points: (N, 2) xy, px of the image, in the precision of the mapper.
        image_id: for the choice of random negatives.
        window: side of a window, px.
        overlap: px shared by neighbouring windows.

    Returns:
        ``raw_ids`` R, ``prompt_label`` S_P and ``instance_label`` S_I, each (H, W) int32: 0, point
        index + 1, or (not in R) -1; and the shares of ignored and recovered pixels and of empty
        prompts.
    """
    height, width = image.shape[1:]
    padded, (top, left) = mirror_to_window(image, window)
    moved = points.double() + torch.tensor([left, top])
    size = (padded.shape[1], padded.shape[2])
    grid = window_grid(*size, window, overlap)
    windows = (_label_window(model, padded, moved, corner, image_id, window) for corner in grid)
    joined = keep_centres(windows, grid, size, window)
    joined = joined[:, top : top + height, left : left + width]
    raw_ids, prompt_label, instance_label, recovered = joined
    statistics = label_statistics(
        prompt_label,
        instance_label,
        recovered.bool(),
        torch.ones_like(recovered, dtype=torch.bool),
        len(points),
    )
    maps = {"raw_ids": raw_ids, "prompt_label": prompt_label, "instance_label": instance_label}
    return {name: each.numpy() for name, each in maps.items()}, statistics


def _label_window(
    model: SelfSAM,
    image: Tensor,
    points: Tensor,
    corner: tuple[int, int],
    image_id: int | str,
    window: int,
) -> Tensor:
    """(4, w, w) int32: R, S_P and S_I with ids of the image, and what is recovered."""
    top, left = corner
    # In double precision, in which the mapper too decides what lies inside.
    context = points - torch.tensor([left, top])
    inside = ((context >= 0) & (context < window)).all(dim=1)
    context = context.float()
    sample: dict[str, Any] = {
        "image": image[:, top : top + window, left : left + window],
        "points": context[inside],
        "context_points": context,
        "image_id": image_id,
    }
    # Ids of the window -> ids of the image; the last entry serves the index -1.
    ids = torch.tensor([0, *(inside.nonzero()[:, 0] + 1).tolist(), IGNORE], dtype=torch.int32)
    labels = label_crop(model, sample, all_masks=False)
    maps = (labels.prompt.raw_ids, labels.prompt.labels, labels.instance.labels)
    recovered = labels.instance.recovered.to(torch.int32).cpu()
    return torch.stack([*(ids[each.cpu()] for each in maps), recovered])
