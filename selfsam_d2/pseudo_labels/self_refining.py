"""The paper's labels: masks of SAM that refine themselves; and InstaSAM's, that never change."""

from __future__ import annotations

from typing import Any

from detectron2.config import configurable
from torch import Tensor

from selfsam_d2.pseudo_labels.alpha import blend_targets
from selfsam_d2.pseudo_labels.instance_label import (
    InstanceLabel,
    make_instance_label,
    same_label,
)
from selfsam_d2.pseudo_labels.limits import domain_limits
from selfsam_d2.pseudo_labels.prompt_label import PromptLabel, make_prompt_label
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY, LabelMaker
from selfsam_d2.pseudo_labels.stain import add_stain_prior, haematoxylin_mask

__all__ = ["SelfRefiningLabels", "StaticSAMLabels"]

# InstaSAM's labels listen to SAM alone.
PURE = {"consensus": False, "stain_weight": 0.0, "one_part": False}


@PSEUDO_LABEL_REGISTRY.register()
class SelfRefiningLabels(LabelMaker):
    """The blend m_u of base and adapted masks, S_P from it, S_I by consensus (Nam & Park 2026).

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
        stain_weight: weight of the haematoxylin stain in m_base, see
            :func:`selfsam_d2.pseudo_labels.stain.add_stain_prior`; above 0 only with ``voronoi``.
        one_part: each nucleus of the label is one connected part without holes.

    Raises:
        ValueError: ``stain_weight`` above 0 without ``voronoi``.
    """

    uses_consensus = True
    reprompts = True

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
        stain_weight: float = 0.0,
        one_part: bool = False,
    ) -> None:
        if stain_weight and not voronoi:
            raise ValueError("Expected argument `voronoi` with `stain_weight` above 0.")
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
        self.stain_weight = stain_weight
        self.one_part = one_part

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
            "STAIN_WEIGHT",
            "ONE_PART",
        )
        return {key.lower(): cfg.PSEUDO_LABEL[key] for key in keys}

    def blend(
        self,
        image: Tensor,
        points: Tensor,
        context: Tensor,
        *,
        base: Tensor | None,
        adapted: Tensor | None,
        alpha: float,
    ) -> Tensor:
        """m_u (K, H, W) in [0, 1], zero outside the limits; arguments as :meth:`prompt_label`.

        Raises:
            ValueError: neither masks are given.
        """
        height, width = image.shape[-2:]
        limits = domain_limits(
            points,
            context,
            (height, width),
            voronoi=self.voronoi,
            max_radius=self.max_radius,
            stain_mask=haematoxylin_mask(image) if self.haematoxylin else None,
        )
        if base is not None and limits is not None and self.stain_weight:
            base = add_stain_prior(base, image, limits, self.stain_weight)
        base = adapted if base is None else base
        adapted = base if adapted is None else adapted
        if base is None or adapted is None:
            raise ValueError("Expected arguments `base` or `adapted`, but got neither.")
        blended = blend_targets(base, adapted, alpha)
        if limits is None:
            return blended
        return blended.mul_(limits)

    def prompt_label(
        self,
        image: Tensor,
        points: Tensor,
        context: Tensor,
        *,
        base: Tensor | None,
        adapted: Tensor | None,
        alpha: float,
    ) -> PromptLabel:
        """S_P from m_u, see :func:`make_prompt_label`."""
        return make_prompt_label(
            self.blend(
                image,
                points,
                context,
                base=base,
                adapted=adapted,
                alpha=alpha,
            ),
            entropy_threshold=self.entropy_threshold,
            mask_threshold=self.mask_threshold,
            entropy_reduction=self.entropy_reduction,
            one_part=self.one_part,
        )

    def instance_label(
        self, prompt_label: PromptLabel, foreground: Tensor, *, consensus: bool = True
    ) -> InstanceLabel:
        """S_I, see :func:`make_instance_label`; S_P where the consensus does not act."""
        if not (self.consensus and consensus):
            return same_label(prompt_label)
        return make_instance_label(
            prompt_label,
            foreground,
            entropy_threshold=self.entropy_threshold,
            mask_threshold=self.mask_threshold,
            agree_foreground=self.agree_foreground,
            agree_background=self.agree_background,
            agree_background_mask=self.agree_background_mask,
        )


@PSEUDO_LABEL_REGISTRY.register()
class StaticSAMLabels(SelfRefiningLabels):
    """InstaSAM (Nam et al., MICCAI 2024): masks of the base model that never change.

    Whatever the schedule of alpha; S_I is S_P, and there is no contrastive loss. Static labels with
    consensus or contrast: SelfRefiningLabels and SELF_REFINE.ALPHA_SCHEDULE static.
    """

    fixed_alpha = 1.0
    uses_consensus = False
    reprompts = False
    lacks_losses = frozenset({"loss_contrast"})

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        return {**super().from_config(cfg), **PURE}
