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

__all__ = [
    "HEAD_LOSS_NAMES",
    "LOSS_NAMES",
    "contrast_loss",
    "crop_losses",
    "head_losses",
    "silent_zero",
]

HEAD_LOSS_NAMES = ("loss_foreground", "loss_distance")  # those that read the nuclei head alone
LOSS_NAMES = ("loss_prompt", *HEAD_LOSS_NAMES, "loss_contrast")


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
    losses = {"loss_prompt": silent_zero([head])}
    if logits is not None and weights["loss_prompt"]:
        losses["loss_prompt"] = prompt_loss(logits, prompt_labels, keep_empty=keep_empty)
    return losses | head_losses(head, instance_labels, weights=weights)


def head_losses(head: Tensor, labels: Tensor, *, weights: dict[str, float]) -> dict[str, Tensor]:
    """L_B and L_D, not weighted; a term of weight 0 is a zero that keeps the graph.

    Args:
        head: (3, c, c): foreground logit, HV map in x and y.
        labels: (c, c) instance label, -1 ignored.
        weights: name of :data:`HEAD_LOSS_NAMES` -> weight.
    """
    losses = {name: silent_zero([head]) for name in HEAD_LOSS_NAMES}
    if weights["loss_foreground"]:
        losses["loss_foreground"] = foreground_loss(head[0], labels)
    if weights["loss_distance"]:
        losses["loss_distance"] = hv_map_loss(
            head[1:], hv_map(labels), labels > 0, labels == IGNORE
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
