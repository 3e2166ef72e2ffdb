"""AdamW on what is trained, and cosine annealing per epoch."""

from __future__ import annotations

import math
from typing import Any

import torch
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

__all__ = ["OPTIMIZERS", "build_optimizer", "cosine_factor"]

OPTIMIZERS = ("AdamW",)

# Parts that already know the task from SAM learn at BASE_LR; these start from scratch or change
# their task.
HEAD_PREFIXES = ("nuclei_head.", "contrast_head.")


def cosine_factor(epoch: int, *, t_max: int, minimum: float) -> float:
    r"""Learning rate relative to its start (PyTorch's closed form of cosine annealing).

    .. math:: f_t = m + (1 - m)\,\frac{1 + \cos(\pi t / T_{max})}{2}

    It falls for T_max epochs, rises for T_max, and so on.

    Args:
        epoch: t.
        t_max: T_max, epochs.
        minimum: m, smallest rate relative to the start.
    """
    return minimum + (1 - minimum) * (1 + math.cos(math.pi * epoch / t_max)) / 2


def build_optimizer(cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over the parameters that require a gradient, with Detectron2's gradient clipping."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = cfg.SOLVER.HEAD_LR_FACTOR if name.startswith(HEAD_PREFIXES) else 1.0
            groups.setdefault(factor, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": each, "lr": cfg.SOLVER.BASE_LR * factor} for factor, each in groups.items()],
        lr=cfg.SOLVER.BASE_LR,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
    )
    return maybe_add_gradient_clipping(cfg, optimizer)
