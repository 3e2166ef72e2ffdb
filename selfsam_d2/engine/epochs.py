"""What changes from epoch to epoch: alpha, and who has a say in the labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.pseudo_labels.alpha import alpha_schedule
from selfsam_d2.pseudo_labels.registry import PSEUDO_LABEL_REGISTRY

__all__ = ["enter_epoch", "epoch_alpha", "epoch_reprompts", "without_effect"]


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


def without_effect(cfg: Any, epochs: int) -> Iterator[tuple[str, str]]:
    """What a config switches on but acts in no epoch of a training.

    Args:
        cfg: of the training.
        epochs: T.

    Yields:
        (key and value, what is wrong with it).
    """
    labels = cfg.PSEUDO_LABEL
    maker = PSEUDO_LABEL_REGISTRY.get(labels.NAME)
    for name, able in (("CONSENSUS", maker.uses_consensus), ("REPROMPT", maker.reprompts)):
        start = labels[f"{name}_START"]
        if able and labels[name] and start >= epochs:
            yield (
                f"PSEUDO_LABEL.{name}_START {start}",
                f"beyond the last epoch, {epochs - 1} (counted from 0); lower it, train longer, or "
                f"set PSEUDO_LABEL.{name} to False",
            )
    reprompting = [epoch for epoch in range(epochs) if epoch_reprompts(cfg, epoch)]
    if reprompting and not any(epoch_alpha(cfg, epoch, epochs) for epoch in reprompting):
        yield (
            f"PSEUDO_LABEL.REPROMPT {labels.REPROMPT}",
            f"prompts base masks, whose weight alpha is 0 from epoch {reprompting[0]} on; choose "
            f"another SELF_REFINE.ALPHA_SCHEDULE than {cfg.SELF_REFINE.ALPHA_SCHEDULE!r}, or set "
            "it to False",
        )
