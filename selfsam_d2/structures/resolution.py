"""When two resolutions are one to a model."""

from __future__ import annotations

__all__ = ["LEFT_ALONE", "is_same_resolution"]

LEFT_ALONE = 0.1  # relative difference of resolutions that models are trained to bear


def is_same_resolution(one: float, other: float) -> bool:
    """Whether two resolutions differ by less than 10% of the second.

    Args:
        one: µm/px, above 0; the larger one, where it is asked of several images.
        other: the same.
    """
    return abs(one / other - 1) < LEFT_ALONE
