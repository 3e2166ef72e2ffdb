"""The trainer that belongs to a config."""

from __future__ import annotations

from typing import Any

from selfsam_d2.engine.architectures import learns_from_points
from selfsam_d2.engine.crop_trainer import CropTrainer
from selfsam_d2.engine.mask_trainer import MaskTrainer
from selfsam_d2.engine.trainer import SelfSAMTrainer

__all__ = ["trainer_class"]


def trainer_class(cfg: Any) -> type[CropTrainer]:
    """:class:`SelfSAMTrainer` for SelfSAM, :class:`MaskTrainer` for all others."""
    return SelfSAMTrainer if learns_from_points(cfg) else MaskTrainer
