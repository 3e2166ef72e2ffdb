"""What the haematoxylin stain alone says about where nuclei are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu
from torch import Tensor

__all__ = ["add_stain_prior", "haematoxylin_mask", "haematoxylin_probability"]

SMOOTHING = 1.0  # px, sigma of the Gaussian
STEEPNESS = 4.0  # of the logistic function, over half the distance of the two class means


def _haematoxylin(image: Tensor) -> NDArray[np.float64]:
    """(H, W) concentration of haematoxylin (colour deconvolution, Ruifrok & Johnston 2001)."""
    concentration: NDArray[np.float64] = rgb2hed(image.permute(1, 2, 0).cpu().numpy())[..., 0]
    return concentration


def haematoxylin_mask(image: Tensor) -> Tensor:
    """Otsu mask of the haematoxylin channel.

    Args:
        image: (3, H, W) uint8 RGB.

    Returns:
        (H, W) bool; all True for an image of one colour, which has no threshold.
    """
    haematoxylin = _haematoxylin(image)
    if np.ptp(haematoxylin) == 0:
        return torch.ones(image.shape[1:], dtype=torch.bool, device=image.device)
    return torch.from_numpy(haematoxylin > threshold_otsu(haematoxylin)).to(image.device)


def haematoxylin_probability(image: Tensor) -> Tensor:
    r"""How much the stain of each pixel speaks for a nucleus.

    .. math::
        P_H(j) = \sigma\left(4\, \frac{h(j) - t}{(\mu_1 - \mu_0) / 2}\right)

    with h the haematoxylin concentration smoothed by 1 px, t its threshold after Otsu, and
    :math:`\mu_1, \mu_0` the means of h above t and up to t.

    Args:
        image: (3, H, W) uint8 RGB.

    Returns:
        (H, W) float32 in [0, 1]; 0.5 everywhere for an image of one colour.
    """
    haematoxylin = gaussian(_haematoxylin(image), SMOOTHING)
    if np.ptp(haematoxylin) == 0:
        return torch.full(image.shape[1:], 0.5, device=image.device)
    threshold = threshold_otsu(haematoxylin)
    above = haematoxylin > threshold
    half = (haematoxylin[above].mean() - haematoxylin[~above].mean()) / 2
    scaled = torch.from_numpy(STEEPNESS * (haematoxylin - threshold) / half)
    return scaled.sigmoid().float().to(image.device)


def add_stain_prior(base: Tensor, image: Tensor, cells: Tensor, weight: float) -> Tensor:
    r"""The base masks, with the stain as a second witness; not in the paper.

    .. math:: m'_{base,k} = (1 - w)\, m_{base,k} + w\, P_H\, 1_{cell_k}

    SAM has never seen a stain: its masks spread over the cell around a nucleus. The stain knows
    no nucleus from another. With w = 0.5 a pixel is nucleus k where both together are sure.

    Args:
        base: (K, H, W) m_base in [0, 1].
        image: (3, H, W) uint8 RGB.
        cells: (K, H, W) bool: the pixels that may belong to each nucleus.
        weight: w in [0, 1].

    Returns:
        (K, H, W) in [0, 1].

    Raises:
        ValueError: shapes do not fit, or the weight is not in [0, 1].
    """
    if base.shape != cells.shape or base.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"Expected arguments `base` and `cells` (K, H, W) and `image` (3, H, W), but got "
            f"{tuple(base.shape)}, {tuple(cells.shape)} and {tuple(image.shape)}."
        )
    if not 0 <= weight <= 1:
        raise ValueError(f"Expected argument `weight` to be in [0, 1], but got {weight}.")
    return (1 - weight) * base + weight * haematoxylin_probability(image) * cells
