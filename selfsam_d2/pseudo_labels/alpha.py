"""The self-evolving target: how base and adapted predictions are blended over the epochs."""

from __future__ import annotations

from torch import Tensor

__all__ = ["ALPHA_SCHEDULES", "alpha_schedule", "blend_targets"]

ALPHA_SCHEDULES = ("linear", "constant", "exponential", "step", "static")


def alpha_schedule(
    epoch: int, epochs: int, *, name: str = "linear", constant: float = 0.5, gamma: float = 0.5
) -> float:
    r"""Weight of the base prediction in epoch t of T (the paper's Table 3).

    .. math::
        \text{linear: } \alpha_t = \max(0, 1 - t/T) \quad
        \text{constant: } \alpha_t = c \quad
        \text{exponential: } \alpha_t = \gamma^t \quad
        \text{step: } \alpha_t = [t < T/2]

    ``static`` is 1 in every epoch: labels of the base model that never change (InstaSAM).

    Args:
        epoch: t, 0 ... T - 1 (later epochs continue the formula).
        epochs: T, >= 1.
        name: one of :data:`ALPHA_SCHEDULES`.
        constant: c, in [0, 1].
        gamma: base of the exponential, in [0, 1].

    Returns:
        alpha in [0, 1].

    Raises:
        ValueError: unknown name, or T < 1, or t < 0.
    """
    if epochs < 1 or epoch < 0:
        raise ValueError(
            f"Expected arguments `epoch` >= 0 and `epochs` >= 1, but got {epoch} and {epochs}."
        )
    match name:
        case "linear":
            return max(0.0, 1 - epoch / epochs)
        case "constant":
            return constant
        case "exponential":
            return gamma**epoch
        case "step":
            return 1.0 if epoch < epochs / 2 else 0.0
        case "static":
            return 1.0
    raise ValueError(f"Expected argument `name` to be one of {ALPHA_SCHEDULES}, but got {name!r}.")


def blend_targets(base: Tensor, adapted: Tensor, alpha: float) -> Tensor:
    r"""The self-evolving target of each nucleus.

    .. math:: m_u = \alpha_t\, m_{base} + (1 - \alpha_t)\, m_{adapt}

    Args:
        base: (K, H, W) m_base in [0, 1].
        adapted: (K, H, W) m_adapt in [0, 1]; detached here.
        alpha: alpha_t in [0, 1].

    Returns:
        (K, H, W) in [0, 1], without a gradient.

    Raises:
        ValueError: shapes differ, or alpha is not in [0, 1].
    """
    if base.shape != adapted.shape:
        raise ValueError(
            f"Expected arguments `base` and `adapted` to have one shape, but got "
            f"{tuple(base.shape)} and {tuple(adapted.shape)}."
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"Expected argument `alpha` to be in [0, 1], but got {alpha}.")
    return (alpha * base.detach()).add_(adapted.detach(), alpha=1 - alpha)
