"""What trainers must know of a meta-architecture: its target, what it predicts, its score."""

from __future__ import annotations

from typing import Any

__all__ = [
    "SELFSAM",
    "best_metric",
    "learns_from_points",
    "predicts_by_windows",
    "predicts_instances",
    "predicts_semantics",
    "training_target",
]

SELFSAM = "SelfSAM"
NUCLEI_SEGMENTOR = "NucleiSegmentor"
SEMANTIC_SEGMENTOR = "SemanticSegmentor"


def learns_from_points(cfg: Any) -> bool:
    """Whether points are all that the training reads; otherwise it reads masks."""
    return cfg.MODEL.META_ARCHITECTURE == SELFSAM


def predicts_by_windows(cfg: Any) -> bool:
    """Whether the model takes native images and cuts and enlarges them itself."""
    return cfg.MODEL.META_ARCHITECTURE in (SELFSAM, NUCLEI_SEGMENTOR)


def predicts_semantics(cfg: Any) -> bool:
    """Whether the model tells classes of pixels and no nuclei."""
    return cfg.MODEL.META_ARCHITECTURE == SEMANTIC_SEGMENTOR


def predicts_instances(cfg: Any) -> bool:
    """Whether the model gives a mask to each nucleus, not only a box."""
    return predicts_by_windows(cfg) or (cfg.MODEL.MASK_ON and not predicts_semantics(cfg))


def training_target(cfg: Any) -> str:
    """The target of :class:`selfsam_d2.data.mask_mapper.MaskDatasetMapper` for a config."""
    if predicts_semantics(cfg):
        return "sem_seg"
    return "instance_label" if predicts_by_windows(cfg) else "instances"


def best_metric(cfg: Any) -> str:
    """The metric by which ``model_best.pth`` is chosen; larger is better."""
    if predicts_semantics(cfg):
        return "sem_seg/Dice"
    return "nuclei/AJI" if predicts_instances(cfg) else "bbox/AP"
