"""A model of a training as it makes labels in some epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsam_d2.data.schedule import CropSchedule
from selfsam_d2.engine.epochs import enter_epoch
from selfsam_d2.engine.trainer import SelfSAMTrainer, training_steps
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.selfsam import SelfSAM
from selfsam_d2.modeling.weights import is_sam_state, load_checkpoint
from selfsam_d2.weights.resolve import notes_of, read_checkpoint, resolve_weights

__all__ = ["load_in_epoch", "saved_epoch"]


def saved_epoch(checkpoint: Mapping[str, Any]) -> int | None:
    """The epoch of a checkpoint or of a file of trained parts, or None if it does not say.

    Args:
        checkpoint: of :func:`selfsam_d2.weights.resolve.read_checkpoint`.
    """
    noted: Any = checkpoint
    for key in ("trainer", "hooks", "SelfRefineHook"):
        noted = noted.get(key) if isinstance(noted, Mapping) else None
    epoch = (noted if isinstance(noted, Mapping) and noted else notes_of(checkpoint)).get("epoch")
    return max(epoch, 0) if isinstance(epoch, int) else None


def load_in_epoch(
    cfg: Any, schedule: CropSchedule, weights: str, epoch: int | None
) -> tuple[SelfSAM, str]:
    """The model of a training, making labels as in the epoch that its weights were trained to.

    Args:
        cfg: of the training.
        schedule: of its crops.
        weights: path, URL or name; bare weights of SAM stand for epoch 0.
        epoch: take this epoch instead, from 0; None: the one that the file names.

    Returns:
        The model, and a few words on where its epoch comes from.

    Raises:
        InputError: the training has no such epoch, the weights cannot be used, or they were trained
            and neither the file nor ``epoch`` says to which one.
    """
    epochs = training_steps(cfg, schedule)[1]
    if epoch is not None and not 0 <= epoch < epochs:
        raise InputError(f"--epoch {epoch}", f"the training has {epochs} epochs, from 0")
    model = SelfSAMTrainer.build_model(cfg)
    checkpoint = read_checkpoint(resolve_weights(weights))
    load_checkpoint(model, checkpoint, weights)
    saved = saved_epoch(checkpoint)
    if epoch is not None:
        words = f"epoch {epoch} as given"
    elif saved is not None:
        epoch, words = saved, f"checkpoint of epoch {saved}"
    elif is_sam_state(checkpoint["model"]):
        epoch, words = 0, "bare weights, as in epoch 0"
    else:
        raise InputError(
            weights, "was trained, but does not say to which epoch; give it with --epoch"
        )
    enter_epoch(model, cfg, epoch, epochs)
    return model, words
