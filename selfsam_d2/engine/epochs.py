"""What changes from epoch to epoch: alpha, and whether the consensus filter acts."""

from __future__ import annotations

from typing import Any

from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.pseudo_labels.alpha import alpha_schedule

__all__ = ["enter_epoch"]


def enter_epoch(model: SelfSAM, cfg: Any, epoch: int, epochs: int) -> None:
    """Set alpha and consensus of a model as the training has them in an epoch.

    Args:
        model: changed in place.
        cfg: of the training.
        epoch: t, from 0.
        epochs: T.
    """
    refine = cfg.SELF_REFINE
    model.alpha = alpha_schedule(
        epoch,
        epochs,
        name=refine.ALPHA_SCHEDULE,
        constant=refine.ALPHA_CONSTANT,
        gamma=refine.ALPHA_GAMMA,
    )
    model.consensus = epoch >= cfg.PSEUDO_LABEL.CONSENSUS_START
