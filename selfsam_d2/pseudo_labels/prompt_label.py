"""S_P: the label that point prompts give, and where it is left out.

Shapes:
    K: nuclei of the crop, H x W: the crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsam_d2.pseudo_labels.parts import keep_one_part
from selfsam_d2.structures.labels import IGNORE

__all__ = ["PromptLabel", "make_prompt_label", "prompt_entropy"]

ENTROPY_REDUCTIONS = ("sum", "max")


@dataclass(frozen=True)
class PromptLabel:
    """S_P with everything that the instance label is made from.

    Attributes:
        labels: (H, W) int64 S_P: 0 background, 1 ... K nuclei, -1 where ``ignore_mask``.
        ignore_mask: (H, W) bool M_p.
        raw_ids: (H, W) int64 R, before M_p.
        entropy: (H, W) H(j), nats.
        overlap: (H, W) int64 F(j).
        confidence: (H, W) max_k m_u,k(j), 0 where K = 0.
    """

    labels: Tensor
    ignore_mask: Tensor
    raw_ids: Tensor
    entropy: Tensor
    overlap: Tensor
    confidence: Tensor


def prompt_entropy(targets: Tensor, reduction: str = "sum") -> Tensor:
    r"""Uncertainty of each pixel over the nuclei.

    .. math:: H(j) = -\sum_k m_{u,k}(j) \log m_{u,k}(j), \quad 0 \log 0 = 0

    Args:
        targets: (K, H, W) m_u in [0, 1].
        reduction: ``sum`` over the nuclei as in the equation, or ``max``.

    Returns:
        (H, W), nats, >= 0; 0 where K = 0.

    Raises:
        ValueError: unknown reduction.
    """
    if reduction not in ENTROPY_REDUCTIONS:
        raise ValueError(
            f"Expected argument `reduction` to be one of {ENTROPY_REDUCTIONS}, "
            f"but got {reduction!r}."
        )
    terms = torch.xlogy(targets, targets)  # -m log m, with the sign turned when it is small
    if reduction == "sum" or not len(targets):
        return -terms.sum(dim=0)
    return -terms.amin(dim=0)


def make_prompt_label(
    targets: Tensor,
    *,
    entropy_threshold: float = 0.3,
    mask_threshold: float = 0.5,
    entropy_reduction: str = "sum",
    one_part: bool = False,
) -> PromptLabel:
    r"""The prompt label S_P of a crop.

    .. math::
        F(j) = \#\{k : m_{u,k}(j) > 0.5\}, \quad
        M_p(j) = 1 \Leftrightarrow H(j) > 0.3 \lor F(j) \ge 2

        R(j) = 1 + \arg\max_k m_{u,k}(j) \text{ if } \max_k m_{u,k}(j) > 0.5 \text{ else } 0,
        \quad S_P = R,\ -1 \text{ where } M_p

    Args:
        targets: (K, H, W) m_u in [0, 1]; K = 0 gives an all-background label.
        entropy_threshold: 0.3 in the equation, nats.
        mask_threshold: 0.5 in the equation.
        entropy_reduction: see :func:`prompt_entropy`.
        one_part: R reduced by :func:`selfsam_d2.pseudo_labels.parts.keep_one_part`; not in the
            paper.

    Returns:
        the label; ties of the maximum go to the lower index.

    Raises:
        ValueError: ``targets`` is not (K, H, W).
    """
    if targets.ndim != 3:
        raise ValueError(
            f"Expected argument `targets` to be (K, H, W), but got {tuple(targets.shape)}."
        )
    entropy = prompt_entropy(targets, entropy_reduction)
    overlap = (targets > mask_threshold).sum(dim=0)
    if len(targets):
        confidence = targets.amax(dim=0)
        # Not `argmax`, whose choice among equals is not promised on every device.
        winner = (targets == confidence).to(torch.uint8).argmax(dim=0)
        raw_ids = torch.where(confidence > mask_threshold, winner + 1, 0)
    else:
        confidence = torch.zeros_like(entropy)
        raw_ids = torch.zeros_like(overlap)
    if one_part:
        raw_ids = keep_one_part(raw_ids)
    ignore_mask = (entropy > entropy_threshold) | (overlap >= 2)
    return PromptLabel(
        labels=raw_ids.masked_fill(ignore_mask, IGNORE),
        ignore_mask=ignore_mask,
        raw_ids=raw_ids,
        entropy=entropy,
        overlap=overlap,
        confidence=confidence,
    )
