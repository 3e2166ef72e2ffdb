"""The pseudo-labeller as one object: settings in, (labels, ignore mask) out."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import configurable
from torch import Tensor

from selfsam_d2.pseudo_labels.alpha import blend_targets
from selfsam_d2.pseudo_labels.instance_label import InstanceLabel, make_instance_label
from selfsam_d2.pseudo_labels.limits import domain_limits, haematoxylin_mask
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel, make_prompt_label

__all__ = ["PseudoLabelMaker"]


class PseudoLabelMaker:
    """Targets, prompt label and instance label of one crop, with the settings of a config.

    Args:
        entropy_threshold: on H, nats.
        entropy_reduction: ``sum`` or ``max`` over nuclei.
        mask_threshold: on m_u and B.
        agree_foreground: on B in A_fg.
        agree_background: on B in A_bg.
        agree_background_mask: on m_u in A_bg.
        consensus: off: the instance label is the prompt label (InstaSAM).
        voronoi: limit each m_u,k to the pixels nearest to its point.
        max_radius: limit it to this multiple of the median point spacing; 0: no limit.
        haematoxylin: limit it to the Otsu mask of the haematoxylin channel.
    """

    @configurable
    def __init__(
        self,
        *,
        entropy_threshold: float = 0.3,
        entropy_reduction: str = "sum",
        mask_threshold: float = 0.5,
        agree_foreground: float = 0.7,
        agree_background: float = 0.3,
        agree_background_mask: float = 0.2,
        consensus: bool = True,
        voronoi: bool = False,
        max_radius: float = 0.0,
        haematoxylin: bool = False,
    ) -> None:
        self.entropy_threshold = entropy_threshold
        self.entropy_reduction = entropy_reduction
        self.mask_threshold = mask_threshold
        self.agree_foreground = agree_foreground
        self.agree_background = agree_background
        self.agree_background_mask = agree_background_mask
        self.consensus = consensus
        self.voronoi = voronoi
        self.max_radius = max_radius
        self.haematoxylin = haematoxylin

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        keys = (
            "ENTROPY_THRESHOLD",
            "ENTROPY_REDUCTION",
            "MASK_THRESHOLD",
            "AGREE_FOREGROUND",
            "AGREE_BACKGROUND",
            "AGREE_BACKGROUND_MASK",
            "CONSENSUS",
            "VORONOI",
            "MAX_RADIUS",
            "HAEMATOXYLIN",
        )
        return {key.lower(): cfg.PSEUDO_LABEL[key] for key in keys}

    def limits(self, image: Tensor, points: Tensor, context: Tensor) -> Tensor | None:
        """Where each m_u,k may be above zero.

        Args:
            image: (3, H, W) uint8 RGB.
            points: (K, 2) xy, px, inside the crop.
            context: (N, 2) xy, px, all points of the transformed image.

        Returns:
            (K, H, W) bool, or None for no limit.
        """
        height, width = image.shape[-2:]
        return domain_limits(
            points,
            context,
            (height, width),
            voronoi=self.voronoi,
            max_radius=self.max_radius,
            stain_mask=haematoxylin_mask(image) if self.haematoxylin else None,
        )

    def targets(self, base: Tensor, adapted: Tensor, alpha: float, limits: Tensor | None) -> Tensor:
        """m_u (K, H, W) in [0, 1], zero outside the limits."""
        blended = blend_targets(base, adapted, alpha)
        return blended if limits is None else blended.mul_(limits)

    def prompt_label(self, targets: Tensor) -> PromptLabel:
        """S_P from m_u (K, H, W)."""
        return make_prompt_label(
            targets,
            entropy_threshold=self.entropy_threshold,
            mask_threshold=self.mask_threshold,
            entropy_reduction=self.entropy_reduction,
        )

    def instance_label(
        self, prompt_label: PromptLabel, foreground: Tensor, *, consensus: bool = True
    ) -> InstanceLabel:
        """S_I from S_P and B (H, W) in [0, 1].

        Args:
            prompt_label: S_P of the crop.
            foreground: (H, W) B in [0, 1].
            consensus: False: S_I is S_P, as with the setting of the same name off.
        """
        if not (self.consensus and consensus):
            return InstanceLabel(
                labels=prompt_label.labels,
                ignore_mask=prompt_label.ignore_mask,
                recovered=torch.zeros_like(prompt_label.ignore_mask),
            )
        return make_instance_label(
            prompt_label,
            foreground,
            entropy_threshold=self.entropy_threshold,
            mask_threshold=self.mask_threshold,
            agree_foreground=self.agree_foreground,
            agree_background=self.agree_background,
            agree_background_mask=self.agree_background_mask,
        )
