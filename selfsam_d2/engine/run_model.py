"""The model of a training with weights of it, ready to predict."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from selfsam_d2.engine.checkpoint import SelfSAMCheckpointer
from selfsam_d2.engine.finished_run import FinishedRun, kept_weights
from selfsam_d2.engine.trainer_choice import trainer_class
from selfsam_d2.errors import InputError
from selfsam_d2.modeling.name_matching import require_whole

__all__ = ["load_run_model"]


def load_run_model(run: FinishedRun, weights: str | None = None) -> tuple[nn.Module, str]:
    """Build the model of a training and load weights into it.

    Args:
        run: the training.
        weights: path, URL or name; None: the last checkpoint of the run.

    Returns:
        the model in evaluation mode, and the name of the file of weights.

    Raises:
        InputError: there is no checkpoint, or the weights cannot be used.
    """
    if weights is None:
        kept = kept_weights(run.folder)
        if not kept:
            raise InputError(run.folder, "no checkpoint in it; give --weights")
        weights = str(kept[-1])
    model = trainer_class(run.cfg).build_model(run.cfg).eval()
    require_whole(SelfSAMCheckpointer(model).load(weights), weights)
    return model, Path(weights).name
