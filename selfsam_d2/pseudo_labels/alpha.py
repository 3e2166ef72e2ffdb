"""The self-evolving target: how base and adapted predictions are blended over the epochs."""

from __future__ import annotations

from torch import Tensor

__all__ = ["ALPHA_SCHEDULES", "alpha_schedule", "blend_targets", "join_decoder"]

# A nucleus that neither masks nor decoder give this much stays weak.
SMALLEST_PEAK = 0.1
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


def join_decoder(targets: Tensor, foreground: Tensor, cells: Tensor, weight: float) -> Tensor:
    r"""Give the prompt-free decoder a say in the target of each nucleus; not in the paper.

    .. math::
        v_k = (1 - w)\, m_{u,k} + w\, B\, 1_{cell_k}, \qquad
        m'_{u,k}(j) = v_k(j) / \max(0.1, \max_i v_k(i))

    Where masks and decoder disagree, the pixel goes to the one that is surer, instead of being
    ignored as by the consensus filter. The points still say how many nuclei there are and where
    they part. The division keeps a pixel of each nucleus to which masks and decoder together
    give 0.1: without it nuclei that the decoder does not see are trained to be background.

    Args:
        targets: (K, H, W) m_u in [0, 1].
        foreground: (H, W) B in [0, 1]; detached here.
        cells: (K, H, W) bool: the pixels that may belong to each nucleus, no pixel to two.
        weight: w in [0, 1].

    Returns:
        (K, H, W) in [0, 1], without a gradient.

    Raises:
        ValueError: shapes do not fit, or the weight is not in [0, 1].
    """
    if targets.shape != cells.shape or targets.shape[1:] != foreground.shape:
        raise ValueError(
            f"Expected arguments `targets` and `cells` (K, H, W) and `foreground` (H, W), but got "
            f"{tuple(targets.shape)}, {tuple(cells.shape)} and {tuple(foreground.shape)}."
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"Expected argument `weight` to be in [0, 1], but got {weight}.")
    joined = (1 - weight) * targets.detach() + weight * foreground.detach() * cells
    if not len(joined):
        return joined
    return joined / joined.amax(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_PEAK)
