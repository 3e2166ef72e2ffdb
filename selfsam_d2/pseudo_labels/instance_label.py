"""S_I: the label of the nuclei decoder, from the consensus of prompt-guided and prompt-free."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfsam_d2.pseudo_labels.prompt_label import PromptLabel
from selfsam_d2.structures.labels import IGNORE

__all__ = ["InstanceLabel", "make_instance_label", "same_label"]


@dataclass(frozen=True)
class InstanceLabel:
    """S_I.

    Attributes:
        labels: (H, W) int64: 0 background, 1 ... K nuclei, -1 where ``ignore_mask``.
        ignore_mask: (H, W) bool M_I.
        recovered: (H, W) bool: left out of S_P but not of S_I.
    """

    labels: Tensor
    ignore_mask: Tensor
    recovered: Tensor


def make_instance_label(
    prompt_label: PromptLabel,
    foreground: Tensor,
    *,
    entropy_threshold: float = 0.3,
    mask_threshold: float = 0.5,
    agree_foreground: float = 0.7,
    agree_background: float = 0.3,
    agree_background_mask: float = 0.2,
) -> InstanceLabel:
    r"""The instance label S_I of a crop.

    .. math::
        A_{fg} = \{\max m_u > 0.5 \land B > 0.7 \land F < 2\}, \quad
        A_{bg} = \{\max m_u < 0.2 \land B < 0.3\}

        I_{base} = \{H > 0.3 \lor 1(\max m_u > 0.5) \ne 1(B > 0.5)\}, \quad
        M_I = (I_{base} \cup \{F \ge 2\}) \setminus (A_{fg} \cup A_{bg})

        S_I = R,\ 0 \text{ on } A_{bg},\ -1 \text{ where } M_I

    Args:
        prompt_label: of the same crop.
        foreground: (H, W) B in [0, 1]; detached here.
        entropy_threshold: 0.3 on H, nats.
        mask_threshold: 0.5 on m_u and on B.
        agree_foreground: 0.7 on B in A_fg.
        agree_background: 0.3 on B in A_bg.
        agree_background_mask: 0.2 on m_u in A_bg.

    Raises:
        ValueError: shapes differ.
    """
    if foreground.shape != prompt_label.labels.shape:
        raise ValueError(
            f"Expected argument `foreground` to have the shape of the prompt label, "
            f"{tuple(prompt_label.labels.shape)}, but got {tuple(foreground.shape)}."
        )
    foreground = foreground.detach()
    confidence, overlap = prompt_label.confidence, prompt_label.overlap
    claimed = confidence > mask_threshold
    agreed_foreground = claimed & (foreground > agree_foreground) & (overlap < 2)
    agreed_background = (confidence < agree_background_mask) & (foreground < agree_background)
    doubtful = (prompt_label.entropy > entropy_threshold) | (
        claimed != (foreground > mask_threshold)
    )
    ignore_mask = (doubtful | (overlap >= 2)) & ~(agreed_foreground | agreed_background)
    labels = prompt_label.raw_ids.masked_fill(agreed_background, 0)
    return InstanceLabel(
        labels=labels.masked_fill(ignore_mask, IGNORE),
        ignore_mask=ignore_mask,
        recovered=prompt_label.ignore_mask & ~ignore_mask,
    )


def same_label(prompt_label: PromptLabel) -> InstanceLabel:
    """S_I = S_P, as without a consensus filter (InstaSAM)."""
    return InstanceLabel(
        labels=prompt_label.labels,
        ignore_mask=prompt_label.ignore_mask,
        recovered=torch.zeros_like(prompt_label.ignore_mask),
    )
