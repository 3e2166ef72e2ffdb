"""S_P and S_I of a whole training image, window by window, as the hook stores them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsam_d2.modeling.backbone import EMBEDDING
from selfsam_d2.modeling.resize import resize_maps
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.sliding_window import window_grid
from selfsam_d2.structures.labels import IGNORE

__all__ = ["label_image"]

MAP_NAMES = ("raw_ids", "prompt_label", "instance_label")


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
    whole wherever they are smaller than half the overlap.

    Args:
        model: with its ``alpha`` set.
        image: (3, H, W) uint8 RGB.
        points: (N, 2) xy, px of the image.
        image_id: for the choice of random negatives.
        window: side of a window, px.
        overlap: px shared by neighbouring windows.

    Returns:
        ``raw_ids`` R, ``prompt_label`` S_P and ``instance_label`` S_I, each (H, W) int32: 0, point
        index + 1, or (not in R) -1; and the shares of ignored and recovered pixels and of empty
        prompts.
    """
    height, width = image.shape[1:]
    shape = (height, width)
    maps = {name: np.zeros(shape, np.int32) for name in MAP_NAMES}
    recovered = np.zeros(shape, bool)
    nearest = np.full(shape, np.inf)
    for top, left in window_grid(height, width, window, overlap):
        rows = slice(top, min(top + window, height))
        columns = slice(left, min(left + window, width))
        labels = _label_window(
            model, image[:, rows, columns], points, (left, top), image_id, window
        )
        size = (rows.stop - top, columns.stop - left)
        distance = _distance_to_centre(size, window)
        closer = distance < nearest[rows, columns]
        nearest[rows, columns][closer] = distance[closer]
        for name in maps:
            maps[name][rows, columns][closer] = labels[name][closer]
        recovered[rows, columns][closer] = labels["recovered"][closer]
    present = np.isin(np.arange(1, len(points) + 1), maps["prompt_label"])
    return maps, {
        "prompt_ignored": float((maps["prompt_label"] == IGNORE).mean()),
        "instance_ignored": float((maps["instance_label"] == IGNORE).mean()),
        "recovered": float(recovered.mean()),
        "empty_prompts": 1 - float(present.mean()) if len(points) else 0.0,
    }


def _label_window(
    model: SelfSAM,
    crop: Tensor,
    points: Tensor,
    corner: tuple[int, int],
    image_id: int | str,
    window: int,
) -> dict[str, np.ndarray]:
    height, width = crop.shape[1:]
    padded = crop.new_zeros((3, window, window))
    padded[:, :height, :width] = crop
    context = points - points.new_tensor(corner)
    inside = ((context >= 0) & (context < context.new_tensor([width, height]))).all(dim=1)
    sample: dict[str, Any] = {
        "image": padded,
        "points": context[inside],
        "context_points": context,
        "image_id": image_id,
    }
    ids = torch.cat([torch.zeros(1, dtype=torch.long), inside.nonzero()[:, 0] + 1])
    prompt_label, instance = label_crop(model, sample)
    return {
        "raw_ids": _to_image_ids(prompt_label.raw_ids, ids)[:height, :width],
        "prompt_label": _to_image_ids(prompt_label.labels, ids)[:height, :width],
        "instance_label": _to_image_ids(instance.labels, ids)[:height, :width],
        "recovered": instance.recovered.cpu().numpy()[:height, :width],
    }


def label_crop(model: SelfSAM, sample: dict[str, Any]) -> tuple[Any, Any]:
    """(PromptLabel, InstanceLabel) of one crop with the model as it is.

    Args:
        model: with its ``alpha`` set.
        sample: ``image``, ``points``, ``context_points``, ``image_id`` as in training.
    """
    base, adapted = model.backbone.forward_both(
        model.preprocess(sample["image"][None].to(model.device))
    )
    size = sample["image"].shape[-2:]
    tokens = model.encode_prompts(sample)
    logits = model.prompt_logits(adapted[EMBEDDING], tokens, size)
    prompt_label = model.label_maker.prompt_label(
        model.make_targets(sample, base[EMBEDDING], logits, tokens)
    )
    foreground = resize_maps(model.nuclei_head(adapted[EMBEDDING]), size)[0, 0].sigmoid()
    return prompt_label, model.make_instance_label(prompt_label, foreground)


def _to_image_ids(labels: Tensor, ids: Tensor) -> np.ndarray:
    labels = labels.cpu()
    renumbered = ids[labels.clamp(min=0)].masked_fill(labels == IGNORE, IGNORE)
    return renumbered.to(torch.int32).numpy()


def _distance_to_centre(size: tuple[int, int], window: int) -> np.ndarray:
    rows = np.abs(np.arange(size[0]) + 0.5 - window / 2)
    columns = np.abs(np.arange(size[1]) + 0.5 - window / 2)
    return np.maximum(rows[:, None], columns[None, :])
