"""The four losses of one crop, with nothing computed for a term that is switched off.

Shapes:
    c: side of the crop, K: points inside it, d: size of the contrast feature.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsam_d2.losses.contrastive import (
    draw_hard_background,
    instance_contrastive_loss,
    read_at_points,
)
from selfsam_d2.losses.hv import hv_map, hv_map_loss
from selfsam_d2.losses.masks import foreground_loss, prompt_loss
from selfsam_d2.modeling.nuclei_head import ContrastHead
from selfsam_d2.structures.labels import IGNORE

__all__ = ["LOSS_NAMES", "contrast_loss", "crop_losses", "silent_zero"]

LOSS_NAMES = ("loss_prompt", "loss_foreground", "loss_distance", "loss_contrast")


def silent_zero(tensors: Sequence[Tensor]) -> Tensor:
    """A zero that keeps tensors in the graph, as data-parallel training needs it."""
    return torch.stack([tensor.sum() for tensor in tensors]).sum() * 0


def crop_losses(
    logits: Tensor | None,
    head: Tensor,
    prompt_labels: Tensor,
    instance_labels: Tensor,
    *,
    weights: dict[str, float],
    keep_empty: bool,
) -> dict[str, Tensor]:
    """L_P, L_B and L_D, not weighted; a term of weight 0 is a zero that keeps the graph.

    Args:
        logits: (K, c, c) of m_adapt; None where L_P is switched off.
        head: (3, c, c): foreground logit, HV map in x and y.
        prompt_labels: (c, c) S_P.
        instance_labels: (c, c) S_I.
        weights: name of :data:`LOSS_NAMES` -> weight.
        keep_empty: see :func:`selfsam_d2.losses.masks.prompt_loss`.
    """
    losses = {name: silent_zero([head]) for name in LOSS_NAMES[:3]}
    if logits is not None and weights["loss_prompt"]:
        losses["loss_prompt"] = prompt_loss(logits, prompt_labels, keep_empty=keep_empty)
    if weights["loss_foreground"]:
        losses["loss_foreground"] = foreground_loss(head[0], instance_labels)
    if weights["loss_distance"]:
        losses["loss_distance"] = hv_map_loss(
            head[1:], hv_map(instance_labels), instance_labels > 0, instance_labels == IGNORE
        )
    return losses


def contrast_loss(
    contrast_head: ContrastHead,
    features: Tensor,
    points: Tensor,
    foreground: Tensor,
    prompt_labels: Tensor,
    seed: list[int],
) -> Tensor:
    """L_C of one crop.

    Args:
        contrast_head: holds z+ and the settings of the loss.
        features: (d, S/16, S/16) g_omega(z_adapt).
        points: (K, 2) xy, px of the crop.
        foreground: (c, c) B in [0, 1].
        prompt_labels: (c, c) S_P.
        seed: of the draw of the hard background.
    """
    size = (foreground.shape[0], foreground.shape[1])
    negatives = draw_hard_background(
        foreground,
        prompt_labels,
        threshold=contrast_head.foreground_threshold,
        count=contrast_head.num_negatives,
        seed=seed,
    )
    return instance_contrastive_loss(
        read_at_points(features, points, size),
        read_at_points(features, negatives, size),
        contrast_head.prototype,
        temperature=contrast_head.temperature,
    )
