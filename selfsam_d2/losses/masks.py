"""L_P and L_B: binary cross-entropy plus IoU loss on pixels that are not ignored."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from selfsam_d2.structures.labels import IGNORE

__all__ = ["foreground_loss", "iou_loss", "prompt_loss"]

EPSILON = 1e-6
# Logits of L_P that are worked on at once: 16 MB. More are split, and what they leave for the
# backward pass is computed again there, so that memory does not grow with the number of nuclei.
CHUNK = 2**22


def iou_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    r"""Soft IoU loss over the last dimension.

    .. math:: IoU(p, t) = 1 - \frac{\sum p t + \epsilon}{\sum (p + t - p t) + \epsilon},
        \quad \epsilon = 10^{-6}

    Args:
        probabilities: (..., n) p in [0, 1].
        targets: (..., n) t in [0, 1].

    Returns:
        (...,) in [0, 1].
    """
    product = probabilities * targets
    union = (probabilities + targets - product).sum(dim=-1)
    return 1 - (product.sum(dim=-1) + EPSILON) / (union + EPSILON)


def prompt_loss(logits: Tensor, labels: Tensor, *, keep_empty: bool = False) -> Tensor:
    r"""L_P of one image.

    .. math:: L_P = \frac{1}{K} \sum_k \left[ BCE(m_{adapt,k}, S_P = k)
        + IoU(m_{adapt,k}, S_P = k) \right]

    over the pixels that are not ignored; BCE is their mean.

    Args:
        logits: (K, H, W) of m_adapt.
        labels: (H, W) S_P, nucleus k is id k + 1, -1 ignored.
        keep_empty: the literal form: a nucleus without a pixel still counts. Otherwise it is
            left out of the sum and of K, else it would be trained to vanish.

    Returns:
        scalar; a zero that keeps the graph where there is nothing to act on.

    Raises:
        ValueError: shapes do not fit.
    """
    if logits.shape[1:] != labels.shape:
        raise ValueError(
            f"Expected argument `labels` to be {tuple(logits.shape[1:])}, "
            f"but got {tuple(labels.shape)}."
        )
    kept = labels != IGNORE
    ids = torch.arange(1, len(logits) + 1, device=labels.device)
    counted = torch.ones_like(ids, dtype=torch.bool) if keep_empty else torch.isin(ids, labels)
    if not bool(kept.any()) or not bool(counted.any()):
        return logits.sum() * 0
    size = max(1, CHUNK // int(kept.sum()))
    values = []
    for part in zip(logits.split(size), ids.split(size), counted.split(size), strict=True):
        arguments = (*part, kept, labels[kept])
        if len(logits) <= size:
            values.append(_nucleus_losses(*arguments))
        else:
            values.append(checkpoint(_nucleus_losses, *arguments, use_reentrant=False))
    return torch.cat(values).mean()


def _nucleus_losses(
    logits: Tensor, ids: Tensor, counted: Tensor, kept: Tensor, labels: Tensor
) -> Tensor:
    """BCE + IoU of each nucleus that counts, with labels (n,) of the n pixels that are kept."""
    targets = (labels == ids[counted][:, None]).to(logits.dtype)
    return _bce_and_iou(logits[counted][:, kept], targets)


def foreground_loss(logits: Tensor, labels: Tensor) -> Tensor:
    r"""L_B of one image.

    .. math:: L_B = BCE(B, S_I > 0) + IoU(B, S_I > 0)

    over the pixels that are not ignored.

    Args:
        logits: (H, W) of B.
        labels: (H, W) S_I, -1 ignored.

    Returns:
        scalar; a zero that keeps the graph where everything is ignored.

    Raises:
        ValueError: shapes differ.
    """
    if logits.shape != labels.shape:
        raise ValueError(
            f"Expected argument `labels` to be {tuple(logits.shape)}, "
            f"but got {tuple(labels.shape)}."
        )
    kept = labels != IGNORE
    if not bool(kept.any()):
        return logits.sum() * 0
    return _bce_and_iou(logits[kept][None], (labels[kept] > 0)[None].to(logits.dtype)).mean()


def _bce_and_iou(logits: Tensor, targets: Tensor) -> Tensor:
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return cross_entropy.mean(dim=-1) + iou_loss(logits.sigmoid(), targets)
