"""What changes from epoch to epoch: alpha, and who has a say in the labels."""

from __future__ import annotations

from typing import Any

from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.pseudo_labels.alpha import alpha_schedule
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY

__all__ = ["enter_epoch", "epoch_alpha", "epoch_reprompts"]


def epoch_alpha(cfg: Any, epoch: int, epochs: int) -> float:
    """Alpha of epoch t of T: the label maker's own, or else of the schedule of a config."""
    fixed = PSEUDO_LABEL_REGISTRY.get(cfg.PSEUDO_LABEL.NAME).fixed_alpha
    if fixed is not None:
        return fixed
    refine = cfg.SELF_REFINE
    return alpha_schedule(
        epoch,
        epochs,
        name=refine.ALPHA_SCHEDULE,
        constant=refine.ALPHA_CONSTANT,
        gamma=refine.ALPHA_GAMMA,
    )


def epoch_reprompts(cfg: Any, epoch: int) -> bool:
    """Whether boxes that the model has found prompt m_base in an epoch."""
    labels = cfg.PSEUDO_LABEL
    able = PSEUDO_LABEL_REGISTRY.get(labels.NAME).reprompts
    return bool(able and labels.REPROMPT and epoch >= labels.REPROMPT_START)


def enter_epoch(model: SelfSAM, cfg: Any, epoch: int, epochs: int) -> None:
    """Set alpha, the consensus and what prompts m_base as a training has them in an epoch.

    :class:`~selfsam_d2.engine.self_refine_hook.SelfRefineHook` calls it before each step; a
    training loop of one's own has to. A model that was never told its epoch makes static labels:
    alpha 1, no boxes that it has found itself.

    Args:
        model: changed in place.
        cfg: of the training.
        epoch: t, from 0.
        epochs: T.
    """
    model.alpha = epoch_alpha(cfg, epoch, epochs)
    model.consensus = epoch >= cfg.PSEUDO_LABEL.CONSENSUS_START
    model.reprompts = epoch_reprompts(cfg, epoch)
